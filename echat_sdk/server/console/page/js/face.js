// A face drawn in code: a few numbers, moved towards what it should show.

import { svg } from "./dom.js";

// brow: raised; tilt: inner ends up (worry) or down; eye: open; smile: corners up; cheek: colour.
const REST = { brow: 0, tilt: 0, eye: 1, smile: 0.35, cheek: 0.25, gazeX: 0, gazeY: 0, open: 0, lean: 0 };
const FEELINGS = {
  neutral: {},
  happy: { brow: 0.35, eye: 0.82, smile: 1, cheek: 0.9 },
  tender: { brow: 0.1, tilt: 0.75, eye: 0.85, smile: 0.18, cheek: 0.45, lean: 3 },
  sad: { brow: -0.05, tilt: 1, eye: 0.75, smile: -0.45, cheek: 0.1, lean: 3 },
  surprise: { brow: 1, eye: 1.25, smile: 0.2, open: 0.25, cheek: 0.4 },
  concern: { brow: 0.15, tilt: 0.5, eye: 1.05, smile: -0.1, cheek: 0.1 },
};
const STATES = {
  listening: {},
  hearing: { eye: 1.1, brow: 0.25, lean: 2 },
  overlapped: { eye: 1.1, brow: 0.4 },
  thinking: { gazeX: 0.55, gazeY: -0.75, brow: 0.3 },
  speaking: {},
  asleep: { eye: 0.08, smile: 0.3 },
};

// What the face should be; `level` is how loud it speaks, 0 to 1.
export function pose(feeling, state, level = 0) {
  const felt = FEELINGS[feeling] ?? {};
  const shown = { ...REST, ...felt, ...STATES[state] };
  if (felt.eye && state !== "asleep") shown.eye = Math.max(felt.eye, STATES[state]?.eye ?? 0);
  if (state === "speaking") shown.open = Math.max(0, (level - 0.35) / 0.65);
  return shown;
}

// The outline of the mouth: corners go up with the smile, the lower lip down with the sound.
export function mouth({ smile, open }) {
  const wide = 52 - 20 * open + 8 * Math.max(0, smile);
  const corner = 264 - 12 * smile;
  const upper = corner + 34 * smile - 14 * open;
  const lower = corner + (smile > 0 ? 34 : 26) * smile + 58 * open;
  const bow = 10 + 10 * open; // the lower lip is round, not pointed
  const [left, right] = [`${n(200 - wide)} ${n(corner)}`, `${n(200 + wide)} ${n(corner)}`];
  return `M${left}Q200 ${n(upper)} ${right}C${n(200 + wide - bow)} ${n(lower)} ${n(200 - wide + bow)} ${n(lower)} ${left}Z`;
}

const n = (x) => x.toFixed(1);

export class Face {
  constructor(root) {
    this.now = { ...REST };
    this.feeling = "neutral";
    this.state = "asleep";
    this.level = 0;
    this.user = 0;
    this.blink = 0;
    this.isStill = matchMedia("(prefers-reduced-motion: reduce)");
    this.parts = {
      halo: svg("circle", { class: "halo", cx: 200, cy: 200, r: 178 }),
      eyes: [140, 260].map((cx) => svg("ellipse", { class: "eye", cx, cy: 178, rx: 17, ry: 25 })),
      glints: [0, 1].map(() => svg("circle", { class: "glint", r: 5.5 })),
      brows: [0, 1].map(() => svg("path", { class: "brow" })),
      mouth: svg("path", { class: "mouth" }),
      cheeks: [108, 292].map((cx) => svg("ellipse", { class: "cheek", cx, cy: 232, rx: 24, ry: 15 })),
    };
    const { halo, eyes, glints, brows, cheeks } = this.parts;
    const head = svg("rect", { class: "head", x: 40, y: 48, width: 320, height: 304, rx: 132 });
    this.inner = svg("g", {}, head, ...cheeks, ...eyes, ...glints, ...brows, this.parts.mouth);
    this.svg = svg(
      "svg",
      { viewBox: "0 0 400 400", role: "img" },
      halo,
      this.inner,
      svg("g", {}, [328, 350, 372].map((cx) => svg("circle", { class: "thinking", cx, cy: 62, r: 8 }))),
    );
    root.append(this.svg);
    this.#frame(0);
  }

  name(words) {
    this.svg.setAttribute("aria-label", words);
  }

  #frame(time) {
    const still = this.isStill.matches;
    const goal = pose(this.feeling, this.state, this.level);
    if (!still) this.#live(goal, time);
    for (const key of Object.keys(goal)) {
      const pull = still ? 1 : key === "open" ? 0.45 : 0.12; // lips are quick, feelings are not
      this.now[key] += (goal[key] - this.now[key]) * pull;
    }
    this.#draw(still ? 0 : time);
    requestAnimationFrame((at) => this.#frame(at));
  }

  #live(goal, time) {
    if (time > this.blink + 160) this.blink = time + 2200 + 3000 * Math.random();
    if (time > this.blink && this.state !== "asleep") goal.eye = 0.06;
    goal.gazeX += 0.12 * Math.sin(time / 2900);
    goal.gazeY += 0.08 * Math.sin(time / 1900);
  }

  #draw(time) {
    const { brow, tilt, eye, cheek, gazeX, gazeY, lean } = this.now;
    const { halo, eyes, glints, brows, cheeks } = this.parts;
    [-1, 1].forEach((side, i) => {
      const x = 200 + side * 60 + 12 * gazeX;
      const y = 178 + 10 * gazeY;
      eyes[i].setAttribute("cx", n(x));
      eyes[i].setAttribute("cy", n(y));
      eyes[i].setAttribute("ry", n(Math.max(2.5, 25 * eye)));
      glints[i].setAttribute("cx", n(x + 6));
      glints[i].setAttribute("cy", n(y - 9 * eye));
      glints[i].setAttribute("opacity", eye > 0.4 ? 1 : 0);
      const inner = `${n(200 + side * 36)} ${n(128 - 14 * brow - 14 * tilt)}`;
      const outer = `${n(200 + side * 88)} ${n(130 - 14 * brow + 9 * tilt)}`;
      brows[i].setAttribute("d", `M${inner}Q${n(200 + side * 62)} ${n(116 - 16 * brow)} ${outer}`);
      cheeks[i].setAttribute("opacity", n(cheek));
    });
    this.parts.mouth.setAttribute("d", mouth(this.now));
    this.inner.setAttribute("transform", `rotate(${n(lean)} 200 220) translate(0 ${n(2 * Math.sin(time / 1400))})`);
    const loud = this.state === "speaking" ? this.level : this.user;
    halo.setAttribute("r", n(178 + 22 * loud));
  }
}

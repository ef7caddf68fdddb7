// Devices, voices, looks, keys.

import { el } from "./dom.js";
import * as looks from "./looks.js";
import { Speaker } from "./speaker.js";
import { language, t } from "./words.js";

const KEYS = [
  ["Alt+T", "key_talk"],
  ["Alt+I", "key_type"],
  ["Esc", "key_stop"],
  ["Alt+1 … 5", "key_views"],
];

export class SettingsView {
  constructor(root, talk, { onLanguage, onEnd }) {
    Object.assign(this, { root, talk, onLanguage, onEnd });
    this.devices = [];
    navigator.mediaDevices?.addEventListener("devicechange", () => this.look());
  }

  async look() {
    this.render();
    this.devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    this.render();
  }

  render() {
    const focused = this.root.contains(document.activeElement) ? document.activeElement.id : "";
    const { talk } = this;
    const voices = talk.conversation.session?.echat?.voices ?? [];
    const voice = talk.voice || talk.conversation.session?.audio?.output?.voice || "";
    const named = this.devices.some(({ label }) => label);
    this.root.replaceChildren(
      el("h2", { id: "settings-title" }, t("sound_settings")),
      this.#choice("microphone", talk.device, this.#list("audioinput"), (id) => talk.useMicrophone(id)),
      Speaker.canChoose
        ? this.#choice("speaker", talk.speaker.sink, this.#list("audiooutput"), (id) => talk.speaker.useDevice(id))
        : el("p", { class: "hint" }, t("speaker_fixed")),
      named ? "" : el("p", { class: "hint" }, t("devices_hint")),
      this.#choice("voice", voice, [["", t("default_voice")], ...voices.map((each) => [each, each])], (name) => talk.useVoice(name)),
      this.#aloud(),
      el("h2", {}, t("appearance")),
      this.#choice("theme", looks.theme(), ["auto", "light", "dark"].map((name) => [name, t(`theme_${name}`)]), (name) => looks.useTheme(name)),
      this.#choice("language", language(), [["en", "English"], ["zh", "中文"]], (code) => {
        looks.useLanguage(code);
        this.onLanguage();
      }),
      el("h2", {}, t("keys")),
      el("dl", { class: "keys" }, KEYS.flatMap(([keys, what]) => [el("dt", {}, el("kbd", {}, keys)), el("dd", {}, t(what))])),
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "button", class: "plain line", id: "end", onclick: this.onEnd }, t("end")),
      ),
    );
    if (focused) document.getElementById(focused)?.focus();
  }

  #list(kind) {
    const found = this.devices.filter((each) => each.kind === kind && each.deviceId && each.deviceId !== "default");
    return [
      ["", t("default_device")],
      ...found.map(({ deviceId, label }, i) => [deviceId, label || t("device_n", { n: i + 1 })]),
    ];
  }

  #choice(name, value, options, onChange) {
    const id = `set-${name}`;
    const known = options.some(([each]) => each === value);
    const select = el(
      "select",
      { id, onchange: () => onChange(select.value) },
      options.map(([each, words]) => el("option", { value: each, selected: known && each === value }, words)),
    );
    return el("div", { class: "choice" }, el("label", { for: id }, t(name)), select);
  }

  #aloud() {
    const box = el("input", {
      type: "checkbox",
      role: "switch",
      id: "set-aloud",
      checked: this.talk.aloud,
      "aria-describedby": "set-aloud-text",
      onchange: () => this.talk.speakAloud(box.checked),
    });
    return el(
      "div",
      { class: "switch" },
      el("label", { for: "set-aloud" }, t("aloud")),
      box,
      el("p", { id: "set-aloud-text" }, t("aloud_text")),
    );
  }
}

// Geometry of the drawings, without a page: where points, lines and bars lie.

const DAY = 86400000;
const TOP = 0.8; // no emotion of ours lies further out

const STAGES = ["heard", "think", "first_text", "first_audio", "done"];

// Bars of a turn, each from where the one before it ended; as shares of the whole, 0 to 1.
export function waterfall(timings) {
  const told = STAGES.map((stage) => [stage, timings?.[stage]]).filter(([, at]) => at != null);
  const whole = Math.max(...told.map(([, at]) => at), 0);
  if (!whole) return [];
  let before = 0;
  return told.map(([stage, at]) => {
    const bar = { stage, at, from: Math.min(before, at) / whole, to: at / whole };
    before = Math.max(before, at);
    return bar;
  });
}

// Places of the turns of a conversation. A turn that is not known has a place in time alone.
export function turnPoints(valences, width, height) {
  const step = width / Math.max(1, valences.length);
  return valences.map((value, i) => ({
    x: step * (i + 0.5),
    y: value === null ? null : level(value, height),
    value,
  }));
}

// Places of days; `first` and `last` are dates like 2026-03-02.
export function dayPoints(days, first, last, width, height) {
  const span = Math.max(1, number(last) - number(first));
  return days
    .filter((day) => day.day >= first && day.day <= last)
    .map((day) => ({
      day: day.day,
      x: (width * (number(day.day) - number(first))) / span,
      y: day.affect ? level(day.affect.valence, height) : null,
      value: day.affect?.valence ?? null,
      turns: day.turns,
      known: day.known,
    }));
}

// A path through the points; broken where a point is missing or, for days, where `gap` is exceeded.
export function line(points, gap = Infinity) {
  let path = "";
  let before = null;
  for (const point of points) {
    if (point.y === null) {
      before = null;
      continue;
    }
    const joined = before !== null && point.x - before <= gap;
    path += `${joined ? "L" : "M"}${point.x.toFixed(1)} ${point.y.toFixed(1)}`;
    before = point.x;
  }
  return path;
}

export function level(value, height) {
  return ((TOP - Math.max(-TOP, Math.min(TOP, value))) / (2 * TOP)) * height;
}

export function dateBefore(day, days) {
  return new Date((number(day) - days) * DAY).toISOString().slice(0, 10);
}

function number(day) {
  return Math.round(Date.parse(`${day}T00:00:00Z`) / DAY);
}

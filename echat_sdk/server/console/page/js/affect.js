// Where an emotion lies between unpleasant and pleasant, and how it is told: always as a guess.

// Valence of each label; `other` has no place. The memory's own numbers.
const VALENCE = {
  happy: 0.76,
  anger: -0.51,
  fear: -0.64,
  sad: -0.63,
  disgust: -0.6,
  surprise: 0.4,
  neutral: 0,
};

const SURE = 0.6; // under it somebody "may" sound like this

export const isKnown = (cue) => Boolean(cue) && cue.label !== "unknown";

// -1 to 1; null where the emotion is not known or has no place.
export function valence(cue) {
  if (!isKnown(cue)) return null;
  const shares = Object.entries(cue.distribution ?? { [cue.label]: 1 });
  const placed = shares.filter(([label]) => label in VALENCE);
  const weight = placed.reduce((sum, [, p]) => sum + p, 0);
  if (weight <= 0) return null;
  return placed.reduce((sum, [label, p]) => sum + p * VALENCE[label], 0) / weight;
}

// The likeliest labels first; those that hardly count are left out.
export function shares(cue, least = 0.03) {
  if (!isKnown(cue)) return [];
  const all = Object.entries(cue.distribution ?? { [cue.label]: cue.confidence });
  return all.filter(([label, p]) => p >= least || label === cue.label).sort((a, b) => b[1] - a[1]);
}

// "You sound sad": which of the sentences it is, for a dictionary to say.
export function sentence(cue) {
  if (!isKnown(cue)) return "unknown";
  return cue.confidence >= SURE ? "sound" : "may_sound";
}

// The face that answers a feeling: the user's own, quietly, until the answer has one.
const REPLY_FACES = {
  joyful: "happy",
  happy: "happy",
  sorry: "tender",
  comforting: "tender",
  sad: "sad",
  tearful: "sad",
  surprised: "surprise",
  afraid: "concern",
  angry: "concern",
  disgusted: "concern",
  neutral: "neutral",
};
const MIRRORED = {
  happy: "happy",
  surprise: "surprise",
  sad: "tender",
  fear: "concern",
  anger: "concern",
  disgust: "concern",
};

export const replyFace = (word) => REPLY_FACES[word] ?? "neutral";
export const mirrorFace = (cue) => (isKnown(cue) && MIRRORED[cue.label]) || "neutral";

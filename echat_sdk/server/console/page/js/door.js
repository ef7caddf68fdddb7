// How the page gets in: a one-time link, or a key that is pasted. Kept in this module alone.

let held = null; // { secret, expires: milliseconds since 1970, or null }

export const secret = () => held?.secret ?? "";
export const isHeld = () => held !== null;
export const isExpired = () => Boolean(held?.expires && held.expires <= Date.now());

// A handshake that failed tells a page nothing. Whether we are let in: yes, no, or nobody answers.
export async function isOpen() {
  try {
    const headers = held?.secret ? { Authorization: `Bearer ${held.secret}` } : {};
    const { status } = await fetch("/v1/models", { headers, credentials: "omit", cache: "no-store" });
    return status === 401 || status === 403 ? "no" : "yes";
  } catch {
    return "nobody";
  }
}

// A server may let in whoever comes. It tells so: to try it would count as a wrong key.
async function needsNoKey() {
  try {
    const answer = await fetch("/console/door.json", { credentials: "omit" });
    return answer.ok && (await answer.json()).needs_key === false;
  } catch {
    return false;
  }
}

export function use(key) {
  held = { secret: key.trim(), expires: null };
}

export function forget() {
  held = null;
}

// The ticket of the address bar becomes a secret; it is gone from there before anything is sent.
export async function enter() {
  const found = new URLSearchParams(location.hash.slice(1)).get("ticket");
  if (found === null) {
    if (await needsNoKey()) held = { secret: "", expires: null };
    return held ? "open" : "none";
  }
  history.replaceState(null, "", location.pathname + location.search);
  let answer;
  try {
    answer = await fetch("/ticket", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ticket: found }),
      credentials: "omit",
    });
  } catch {
    return "unreachable";
  }
  if (!answer.ok) return "refused";
  const { value, expires_at: expires } = await answer.json();
  held = { secret: value, expires: expires ? expires * 1000 : null };
  return "open";
}

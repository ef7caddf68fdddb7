// How the page gets in: a one-time link, or a key that is pasted. Kept in this module alone.

let held = null; // { secret, expires: milliseconds since 1970, or null }

export const secret = () => held?.secret ?? null;
export const isExpired = () => Boolean(held?.expires && held.expires <= Date.now());

export function use(key) {
  held = { secret: key.trim(), expires: null };
}

export function forget() {
  held = null;
}

// The ticket of the address bar becomes a secret; it is gone from there before anything is sent.
export async function enter() {
  const found = new URLSearchParams(location.hash.slice(1)).get("ticket");
  if (found === null) return "none";
  history.replaceState(null, "", location.pathname + location.search);
  let answer;
  try {
    answer = await fetch("/console/ticket", {
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

// Signs in with a key that came in the address, as the QR code in a terminal has it: …/talk#key=lsr_…
// What is behind # is never sent to a server. It leaves the address at once, so that no bookmark or history keeps it.

export async function enterByAddress() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!key) return;
  history.replaceState(null, "", location.pathname + location.search);
  // Without an answer, or with a refusal, the page asks for the key as it does without one.
  await fetch("/v1/session", { method: "POST", body: JSON.stringify({ key }) }).catch(() => {});
}

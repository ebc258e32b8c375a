// Asks for an API key where the server wants one. The server gives a session for it: a cookie that no script can read,
// and that ends after some hours, or when the key is removed.

import { t } from "./i18n.js";
import { worded } from "./problem.js";

const element = (id) => document.getElementById(id);

let entering = null;
let brought = null;  // a key that came with the page's address, as to a frame of another site, which gets no cookie

// Resolves with the session (GET /v1/session) once the server accepts this page; all callers share one dialog.
export function letIn() {
  entering ??= enter().finally(() => { entering = null; });
  return entering;
}

// From now on requests carry this key, and nobody is asked for one.
export function bring(key) {
  brought = key;
}

// As fetch; where the session has ended it asks for the key and tries again.
export async function request(url, options = {}) {
  if (brought) return fetch(url, { ...options, headers: { ...options.headers, Authorization: `Bearer ${brought}` } });
  const response = await fetch(url, options);
  if (response.status !== 401 || !element("key")) return response;
  await letIn();
  return fetch(url, options);
}

async function enter() {
  for (;;) {
    const session = await fetch("/v1/session", { cache: "no-store" }).then((response) => response.json()).catch(() => null);
    if (session?.scope) return session;
    if (session?.key_required) return ask();
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

function ask() {
  const dialog = element("key");
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    element("key-form").onsubmit = async (event) => {
      event.preventDefault();
      const { session, reason } = await begin(element("key-input").value.trim());
      element("key-message").hidden = !reason;
      element("key-message").textContent = reason ?? "";
      if (reason) return;
      element("key-input").value = "";
      dialog.close();
      resolve(session);
    };
    dialog.oncancel = (event) => event.preventDefault();  // without a key the page can show nothing
  });
}

// The session that the key begins, or what was wrong with it.
async function begin(key) {
  try {
    const response = await fetch("/v1/session", { method: "POST", body: JSON.stringify({ key }) });
    const answer = await response.json();
    return response.ok ? { session: answer } : { reason: worded(answer.error) };
  } catch {
    return { reason: t("no_answer") };
  }
}

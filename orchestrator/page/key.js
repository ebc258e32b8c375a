// Asks for an API key where the server wants one. The server gives a session for it: a cookie that no script can read,
// and that ends after some hours, or when the key is removed.

const element = (id) => document.getElementById(id);

let entering = null;

// Resolves once the server accepts this page; all callers share one dialog.
export function letIn() {
  entering ??= enter().finally(() => { entering = null; });
  return entering;
}

// As fetch; where the session has ended it asks for the key and tries again.
export async function request(url, options) {
  const response = await fetch(url, options);
  if (response.status !== 401) return response;
  await letIn();
  return fetch(url, options);
}

async function enter() {
  for (;;) {
    const session = await fetch("/v1/session", { cache: "no-store" }).then((response) => response.json()).catch(() => null);
    if (session?.scope) return;
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
      const reason = await begin(element("key-input").value.trim());
      element("key-message").hidden = !reason;
      element("key-message").textContent = reason ?? "";
      if (reason) return;
      element("key-input").value = "";
      dialog.close();
      resolve();
    };
    dialog.oncancel = (event) => event.preventDefault();  // without a key the page can show nothing
  });
}

// What was wrong with the key, or null.
async function begin(key) {
  try {
    const response = await fetch("/v1/session", { method: "POST", body: JSON.stringify({ key }) });
    const answer = await response.json();
    return response.ok ? null : answer.error.message;
  } catch {
    return "The server does not answer. Is it still running?";
  }
}

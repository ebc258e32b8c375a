// Makes the page an app of the phone's: the shell is kept for when there is no network, and the browser may offer to install it.

const WORKER = "/talk/worker.js";

// Resolves with whether the browser took the shell; it refuses where it does not trust the certificate.
export async function keepShell() {
  if (!navigator.serviceWorker) return true;  // without https there is no app, and the page says so already
  const policy = window.trustedTypes?.createPolicy("talk-worker", { createScriptURL: () => WORKER });
  try {
    await navigator.serviceWorker.register(policy ? policy.createScriptURL("") : WORKER, { scope: "/talk" });
    return true;
  } catch {
    return false;
  }
}

// Shows the button while the browser would install the page.
export function offerInstallation(button) {
  let offer = null;
  addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    [offer, button.hidden] = [event, false];
  });
  addEventListener("appinstalled", () => { button.hidden = true; });
  button.addEventListener("click", () => offer?.prompt());
}

// Tests WebRTC step by step, and says at which one it fails and what to do.

import { t } from "./i18n.js";
import { advice, WhepViewer } from "./whep.js";

const LIMIT_MS = 10_000;
export class SelfTest {
  // `list` is an <ol> that shows the steps, `button` starts them.
  constructor(url, button, list) {
    Object.assign(this, { url, button, list });
    button.addEventListener("click", () => this.#run());
  }

  async #run() {
    this.button.disabled = true;
    this.list.hidden = false;
    this.list.replaceChildren();
    this.#show("secure", window.isSecureContext, window.isSecureContext ? "" : t("insecure"));
    const video = document.createElement("video");
    video.muted = true;
    const began = performance.now();
    const viewer = new WhepViewer(this.url, video, (step) => this.#show(step, true, `${Math.round(performance.now() - began)} ms`));
    try {
      await viewer.open(LIMIT_MS);
    } catch (error) {
      this.#show(error.step ?? "offer", false, error.message || advice(error.step));
    } finally {
      viewer.close();
      this.button.disabled = false;
    }
  }

  #show(step, fine, text) {
    const item = document.createElement("li");
    item.className = fine ? "fine" : "failed";
    item.textContent = `${fine ? "✓" : "✗"} ${t(`step_${step}`)}${text && `: ${text}`}`;
    this.list.append(item);
  }
}

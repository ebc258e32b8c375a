// Keeps the screen on while a conversation runs. The system takes the lock when the page is hidden.

export class Awake {
  constructor() {
    this.wanted = false;
    this.lock = null;
    document.addEventListener("visibilitychange", () => this.#ask());
  }

  begin() {
    this.wanted = true;
    this.#ask();
  }

  end() {
    this.wanted = false;
    this.lock?.release();
    this.lock = null;
  }

  async #ask() {
    if (!this.wanted || document.hidden || !navigator.wakeLock) return;
    try {
      this.lock = await navigator.wakeLock.request("screen");
    } catch {
      this.lock = null;  // refused, as on a low battery: the screen goes dark as it always does
    }
  }
}

// Lets a person speak into a conversation: while a button is held, or for as long as the microphone is open.

import { Microphone } from "../microphone.js";

const WORKLET = { module: "/page/talk/ear.js", name: "ear" };
const TAIL_MS = 200;  // a thumb leaves the button with the last word, and the sound of it is still on its way

export class Talking {
  // `on.level(peak)`, `on.changed()` where held or open changed, `on.begun()` before a person speaks,
  // `on.failed(error)` of the microphone, `on.slow()` where the network takes no more.
  constructor(conversation, hold, open, on) {
    Object.assign(this, { conversation, hold, open, on });
    this.microphone = null;
    this.opening = null;
    this.held = false;
    this.isOpen = false;
    this.ending = null;
    hold.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      hold.setPointerCapture(event.pointerId);
      this.#begin();
    });
    for (const kind of ["pointerup", "pointercancel", "blur", "keyup"]) hold.addEventListener(kind, () => this.#release());
    hold.addEventListener("keydown", (event) => {
      if ((event.key === " " || event.key === "Enter") && !event.repeat) this.#begin();
    });
    hold.addEventListener("contextmenu", (event) => event.preventDefault());  // of a long touch
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.#release(); });
    open.addEventListener("click", () => (this.isOpen ? this.shut() : this.#openUp()));
  }

  get mode() {
    return this.isOpen ? "open" : "push";
  }

  // Opens the microphone; until a button is pressed nothing of it is sent. Resolves with whether there is one.
  async prepare() {
    if (this.microphone) return true;
    this.opening ??= Microphone.open((buffer, peak) => this.#take(buffer, peak), WORKLET, () => this.#lost());
    try {
      this.microphone = await this.opening;
      return true;
    } catch (error) {
      this.on.failed(error);
      return false;
    } finally {
      this.opening = null;
    }
  }

  // Ends what is being said, and closes the microphone.
  end() {
    this.shut();
    this.#release();
    this.microphone?.close();
    this.microphone = null;
    this.on.level(0);
  }

  // Ends the open microphone; what was said until now is an utterance. The answer to it is awaited in the same mode.
  shut() {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.conversation.release();
    this.on.changed();
  }

  async #openUp() {
    if (!(await this.prepare()) || this.isOpen) return;
    this.isOpen = true;
    this.conversation.listen("open");
    this.on.changed();
  }

  async #begin() {
    if (this.held) return;
    this.held = true;
    clearTimeout(this.ending);
    this.ending = null;
    this.on.changed();
    this.on.begun();
    if (!(await this.prepare())) this.held = false;
    this.on.changed();
  }

  #release() {
    if (!this.held) return;
    this.held = false;
    this.on.changed();
    if (this.isOpen) return;
    this.ending = setTimeout(() => {
      this.ending = null;
      this.conversation.release();
    }, TAIL_MS);
  }

  #take(buffer, peak) {
    const spoken = this.held || this.isOpen || this.ending;
    this.on.level(spoken ? peak : 0);
    if (spoken && !this.conversation.sound(buffer)) this.on.slow();
  }

  #lost() {
    const failure = new Error("the device has ended");
    failure.reason = "lost";
    this.end();
    this.on.failed(failure);
  }
}

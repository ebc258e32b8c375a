// Buttons of the motions that the channel's avatar has; the one that is shown is marked.

import { ask } from "./api.js";
import { keep, make } from "./dom.js";

export class MotionButtons {
  // `say(message)` shows a line to the person; null takes it away.
  constructor(channelUrl, say) {
    Object.assign(this, { channelUrl, say });
    this.row = document.getElementById("motions");
    this.list = document.getElementById("motion-buttons");
  }

  show({ motions, motion }) {
    this.row.hidden = !motions.length;
    keep(this.list, motions, (name) => make("button", { type: "button", class: "quiet", text: name, onclick: () => this.#play(name) }));
    for (const button of this.list.children) button.setAttribute("aria-pressed", String(button.dataset.key === motion));
  }

  async #play(name) {
    try {
      await ask(`${this.channelUrl}/motions`, "POST", { name });
      this.say(null);
    } catch (error) {
      this.say(error.message);
    }
  }
}

// Says what is written into a field: Enter sends it, Shift and Enter begins a new line.

import { t } from "./i18n.js";
import { request } from "./key.js";
import { problem } from "./problem.js";

export class Sayer {
  // `say(message)` shows a line to the person; null takes it away.
  constructor(channelUrl, quality, say) {
    Object.assign(this, { channelUrl, quality, say });
    this.field = document.getElementById("words");
    this.button = document.getElementById("say");
    this.field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.button.addEventListener("click", () => this.#send());
  }

  async #send() {
    const text = this.field.value;
    if (!text.trim() || this.button.disabled) return;
    let values;
    try {
      values = this.quality.entered();
    } catch (error) {
      this.say(error.message);
      return;
    }
    this.button.disabled = true;
    const refusal = await this.#post({ text, ...Object.fromEntries(values.map(([name, value]) => [name, Number(value)])) });
    this.button.disabled = false;
    this.say(refusal);
    if (!refusal && this.field.value === text) this.field.value = "";  // else the next text is being written
    this.field.focus();
  }

  // Why the server did not take the text, or null.
  async #post(body) {
    try {
      const headers = { "Content-Type": "application/json" };
      const response = await request(`${this.channelUrl}/say`, { method: "POST", headers, body: JSON.stringify(body) });
      if (response.ok) return null;
      return this.quality.worded(await problem(response));
    } catch {
      return t("no_answer");
    }
  }
}

// Sends speech to a channel: chosen, dropped and recorded files, one after another.

import { t } from "./i18n.js";
import { request } from "./key.js";
import { problem } from "./problem.js";

// Refusals of one file; after any other the next file would be refused too.
const OF_THIS_FILE = [413, 422];

export class Speaker {
  // `say(message, fine)` shows a line to the person; null takes it away.
  constructor(channelId, quality, say) {
    Object.assign(this, { channelId, quality, say });
    this.sending = Promise.resolve();
    this.drop = document.getElementById("drop");
    const input = document.getElementById("file");
    input.addEventListener("change", async () => {
      const files = [...input.files];
      input.value = "";  // so that the same file can be sent again
      await this.send(files);
    });
    document.getElementById("speak").addEventListener("submit", (event) => event.preventDefault());
    this.#takeDrops();
  }

  // Sends the files in their order, after those that are being sent.
  send(files) {
    this.sending = this.sending.then(() => this.#sendAll(files));
    return this.sending;
  }

  async #sendAll(files) {
    let values;
    try {
      values = this.quality.entered();
    } catch (error) {
      this.say(error.message);
      return;
    }
    const refused = [];
    this.drop.classList.add("busy");
    for (const [index, file] of files.entries()) {
      const place = { number: index + 1, count: files.length, name: file.name };
      this.say(t(files.length > 1 ? "sending_of" : "sending", place), true);
      const refusal = await this.#post(file, values);
      if (!refusal) continue;
      refused.push(files.length > 1 ? `${file.name}: ${refusal.message}` : refusal.message);
      const left = files.length - index - 1;
      if (refusal.ofThisFile || !left) continue;
      refused.push(left > 1 ? t("others_not_sent", { count: left }) : t("last_not_sent"));
      break;
    }
    this.drop.classList.remove("busy");
    this.say(refused.join("\n") || null);
  }

  // Why the server did not take the file, or null.
  async #post(file, values) {
    const form = new FormData();
    for (const [field, value] of values) form.append(field, value);
    form.append("channel", this.channelId);
    form.append("audio_file", file, file.name);
    try {
      const response = await request("/v1/tasks", { method: "POST", body: form });
      if (response.ok) return null;
      const message = this.quality.worded(await problem(response));
      return { message, ofThisFile: OF_THIS_FILE.includes(response.status) };
    } catch {
      return { message: t("no_answer"), ofThisFile: false };
    }
  }

  get #seen() {
    return this.drop.offsetParent !== null;
  }

  #takeDrops() {
    for (const kind of ["dragenter", "dragover"]) {
      window.addEventListener(kind, (event) => {
        event.preventDefault();
        if (this.#seen) this.drop.classList.add("over");
      });
    }
    window.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) this.drop.classList.remove("over");
    });
    window.addEventListener("drop", async (event) => {
      event.preventDefault();
      this.drop.classList.remove("over");
      if (!this.#seen) return;  // another view takes files of its own
      const { files, folders } = dropped(event.dataTransfer);
      if (folders.length) {
        this.say(t("no_folder", { names: folders.join(", ") }));
        return;
      }
      await this.send(files);
    });
  }
}

// What was dropped; a folder is in the list of files too, and can't be read as one.
function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  const folders = entries.filter((entry) => entry?.isDirectory).map((entry) => entry.name);
  return { files: [...transfer.files], folders };
}

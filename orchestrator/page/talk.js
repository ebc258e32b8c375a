// Speaks live: what the microphone hears goes to the channel at once, while a button is held or until it is pressed again.

import { t } from "./i18n.js";
import { request } from "./key.js";
import { Microphone, RATE_HZ } from "./microphone.js";
import { problem } from "./problem.js";

const MOST_WAITING_BYTES = 3_000_000;  // half a minute, which the server did not read

export class Talker {
  // `say(message)` shows a line to the person; null takes it away.
  constructor(channelUrl, say) {
    Object.assign(this, { channelUrl, say });
    this.socket = null;
    this.microphone = null;
    this.wanted = 0;  // grows with each begin and end: what was begun before is out of date
    this.talking = false;
    this.hold = document.getElementById("hold");
    this.open = document.getElementById("open");
    this.level = document.getElementById("level");
    this.state = document.getElementById("talk-state");
    this.#listenToButtons();
  }

  #listenToButtons() {
    const { hold, open } = this;
    hold.addEventListener("pointerdown", (event) => {
      hold.setPointerCapture(event.pointerId);
      this.#begin(hold);
    });
    for (const kind of ["pointerup", "pointercancel", "blur"]) hold.addEventListener(kind, () => this.#release());
    hold.addEventListener("keydown", (event) => {
      if ((event.key === " " || event.key === "Enter") && !event.repeat) this.#begin(hold);
    });
    hold.addEventListener("keyup", () => this.#release());
    hold.addEventListener("contextmenu", (event) => event.preventDefault());  // of a long touch
    open.addEventListener("click", () => (this.talking ? this.#end() : this.#begin(open)));
  }

  #release() {
    if (this.talking && this.hold.classList.contains("on")) this.#end();
  }

  async #begin(button) {
    if (this.talking) return;
    this.talking = true;
    const turn = ++this.wanted;
    button.classList.add("on");
    this.open.setAttribute("aria-pressed", String(button === this.open));
    this.say(null);
    this.#show(t("talk_connecting"));
    const waiting = [];  // what is said before the connection is there is not lost
    const take = (buffer, peak) => {
      if (turn !== this.wanted) return;
      this.level.value = peak;
      if (!this.sending) waiting.push(buffer);
      else if (this.socket.bufferedAmount > MOST_WAITING_BYTES) this.#fail(t("talk_too_much"));
      else this.socket.send(buffer);
    };
    this.sending = false;
    try {
      const microphone = await Microphone.open(take);
      if (turn !== this.wanted) return microphone.close();  // the button was released meanwhile
      this.microphone = microphone;
      this.socket = await this.#connected();
      if (turn !== this.wanted) return;
      this.socket.send(JSON.stringify({ type: "start", sample_rate: RATE_HZ, channels: 1, format: "s16le", source: "microphone" }));
      for (const buffer of waiting) this.socket.send(buffer);
      this.sending = true;
      this.#show(t("talk_listening"));
    } catch (error) {
      if (turn === this.wanted) this.#fail(error.message);
    }
  }

  #end() {
    if (!this.talking) return;
    this.wanted++;
    this.talking = false;
    this.microphone?.close();
    this.microphone = null;
    this.level.value = 0;
    for (const button of [this.hold, this.open]) button.classList.remove("on");
    this.open.setAttribute("aria-pressed", "false");
    if (this.sending) this.socket.send(JSON.stringify({ type: "end" }));
    this.#show(this.sending ? t("talk_sent") : "");
    this.sending = false;
  }

  #fail(message) {
    this.sending = false;
    this.#end();
    this.say(message);
  }

  #show(text) {
    this.state.textContent = text;
  }

  // The open socket; one serves until it is lost.
  async #connected() {
    if (this.socket?.readyState === WebSocket.OPEN) return this.socket;
    const url = new URL(`${this.channelUrl}/speech`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, ["latentsync"]);
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onclose = () => this.#refusal().then((reason) => reject(new Error(reason)));
    });
    socket.onclose = () => {
      if (this.talking && this.socket === socket) this.#fail(t("talk_lost"));
    };
    return socket;
  }

  // Why a socket did not open; browsers keep that from scripts.
  async #refusal() {
    try {
      const response = await request(this.channelUrl, { cache: "no-store" });  // asks for the key where it is missing
      if (!response.ok) return problem(response);
      return t("talk_refused");
    } catch {
      return t("no_answer");
    }
  }

  #hear(message) {
    if (message.type === "started") this.#show(t("talk_on_air"));
    if (message.type === "position") this.#show(t("talk_on_air_s", { seconds: (message.sample / RATE_HZ).toFixed(0) }));
    if (message.type === "ended") this.#show(t("talk_heard_s", { seconds: (message.heard_samples / RATE_HZ).toFixed(1) }));
    if (message.type === "error") this.#fail(message.message);
  }
}

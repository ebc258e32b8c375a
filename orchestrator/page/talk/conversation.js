// One conversation over its WebSocket, which comes back by itself after it was lost.

import { request } from "../key.js";

export const RATE_HZ = 16_000;

const RETRY_MS = [500, 1000, 2000, 4000];
const MOST_WAITING_BYTES = 160_000;  // 5 s of sound; what is older helps nobody in a conversation
const GOOD_MS = 5000;
const SWITCH_MS = 100;

export class Conversation {
  // `on` has a function for each type of message, and `lost(why)`: "lost", "refused", "silent_server" or a sentence.
  constructor(channelUrl, on) {
    Object.assign(this, { channelUrl, on });
    this.socket = null;
    this.running = null;
    this.mode = "push";
    this.switched = false;
    this.ready = false;
    this.unsaid = [];
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  // Connects, and connects again, until `close`.
  async run() {
    const run = this.running = {};  // another one may begin before this one has noticed its end
    this.switched = false;
    for (let failures = 0; this.running === run; ) {
      const began = performance.now();
      const opened = await this.#connected();
      if (this.running !== run) return;
      failures = opened && performance.now() - began > GOOD_MS ? 0 : failures + 1;
      const switched = this.switched;
      this.switched = opened && switched;  // the server may still see the connection before: the first refusal is no news
      if (switched) {
        await sleep(SWITCH_MS);
        continue;
      }
      const why = await this.#refusal(opened);
      if (this.running !== run) return;
      this.on.lost(why);
      await sleep(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
    }
  }

  close() {
    this.running = null;
    this.unsaid = [];
    this.socket?.close();
  }

  // How the end of what a person says is known: by a pause ("open"), or by `release` ("push"). A connection keeps its
  // mode, so another one takes its place, which goes on with what was said; an answer that is being said ends by it.
  listen(mode) {
    if (mode === this.mode) return;
    this.mode = mode;
    if (!this.open) return;
    this.switched = true;
    this.socket.close();
  }

  // A block of the microphone; false where the network takes no more.
  sound(buffer) {
    if (!this.open) return true;
    if (this.socket.bufferedAmount > MOST_WAITING_BYTES) return false;
    this.socket.send(buffer);
    return true;
  }

  release() {
    this.#send({ type: "release" });
  }

  interrupt() {
    this.#send({ type: "interrupt" });
  }

  // A typed turn; before the server is ready it would be lost, so it waits.
  write(text) {
    this.unsaid.push(text);
    if (this.ready) this.#sayAll();
  }

  reset() {
    this.#send({ type: "reset" });
  }

  #sayAll() {
    for (const text of this.unsaid.splice(0)) this.#send({ type: "text", text });
  }

  #send(message) {
    if (this.open) this.socket.send(JSON.stringify(message));
  }

  // Resolves once the connection has ended, with whether it ever was open.
  #connected() {
    const url = new URL(`${this.channelUrl}/conversation`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = this.socket = new WebSocket(url, ["latentsync"]);
    socket.binaryType = "arraybuffer";
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#send({ type: "start", format: "pcm_s16le", sample_rate: RATE_HZ, channels: 1, mode: this.mode });
    };
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") return;
      const message = JSON.parse(data);
      this.on[message.type]?.(message);
      if (message.type !== "ready") return;
      this.ready = true;
      this.switched = false;
      this.#sayAll();
    };
    return new Promise((resolve) => {
      socket.onclose = () => {
        this.ready = false;
        resolve(opened);
      };
    });
  }

  // Why there is no connection; browsers keep the answer to a refused socket from scripts.
  async #refusal(opened) {
    try {
      const response = await request(this.channelUrl, { cache: "no-store" });  // asks for the key where it is missing
      if (!response.ok) return (await response.json()).error.message;
      return opened ? "lost" : "refused";
    } catch {
      return "silent_server";
    }
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

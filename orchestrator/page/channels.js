// The view of all channels, which the server's events keep up to date.

import { ask } from "./api.js";
import { ChannelCard } from "./channelcard.js";
import { makeChannel } from "./channelform.js";
import { keep, tell } from "./dom.js";
import { Events } from "./events.js";
import { request } from "./key.js";
import { samples } from "./metrics.js";

const OBSERVE_MS = 4000;
const AGAIN_MS = 500;  // after a channel has ended: it was removed, or begins anew with another definition

export class Channels {
  constructor(session) {
    this.session = session;
    this.cards = new Map();
    this.list = document.getElementById("channel-cards");
    this.message = document.getElementById("channels-message");
    this.events = new Events({ channel: (channel) => this.#note(channel) });
    const button = document.getElementById("new-channel");
    button.hidden = session.scope !== "administer";
    button.addEventListener("click", async () => {
      tell(this.message, await makeChannel());
      this.#look();
    });
  }

  show() {
    this.#look();
    this.events.listen();
    this.timer = setInterval(() => { if (!document.hidden) this.#observe(); }, OBSERVE_MS);
  }

  hide() {
    this.events.end();
    clearInterval(this.timer);
  }

  #note(channel) {
    const card = this.cards.get(channel.channel);
    if (channel.state === "closed" || !card) setTimeout(() => this.#look(), card ? AGAIN_MS : 0);
    card?.follow(channel);
  }

  async #look() {
    let channels;
    try {
      ({ channels } = await ask("/v1/channels"));
    } catch (error) {
      tell(this.message, error.message);
      return;
    }
    const names = channels.map((channel) => channel.channel);
    for (const name of this.cards.keys()) if (!names.includes(name)) this.cards.delete(name);
    for (const name of names) {
      if (!this.cards.has(name)) this.cards.set(name, new ChannelCard(name, this.session, () => this.#look()));
    }
    for (const channel of channels) this.cards.get(channel.channel).update(channel);
    keep(this.list, names, (name) => this.cards.get(name).element);
    this.#observe();
  }

  // What events don't tell: viewers over WebRTC, and how quickly speeches begin.
  async #observe() {
    try {
      const [metrics, { ledger }] = await Promise.all([request("/metrics").then((answer) => answer.text()), ask("/v1/ledger")]);
      const viewers = new Map(samples(metrics, "latentsync_webrtc_viewers").map(({ labels, value }) => [labels.channel, value]));
      for (const [name, card] of this.cards) {
        card.observe(viewers.get(name) ?? 0, ledger.filter((entry) => entry.channel === name));
      }
    } catch {
      // the header says already that the server does not answer
    }
  }
}

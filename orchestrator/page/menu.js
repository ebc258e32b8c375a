// The menu of channels; where there is one channel alone, it is not shown.

import { ask } from "./api.js";

const LOOK_MS = 10_000;

export class ChannelMenu {
  constructor(channelId) {
    this.channelId = channelId;
    this.names = "";
    this.select = document.getElementById("channel");
    this.select.addEventListener("change", () => { location.search = new URLSearchParams({ channel: this.select.value }); });
  }

  // Keeps the menu up to date: channels come and go over the API.
  async run() {
    for (;;) {
      if (!document.hidden) await this.#look();
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  async #look() {
    let names;
    try {
      names = (await ask("/v1/channels")).channels.map((each) => each.channel);
    } catch {
      return;  // the header says already that the server does not answer
    }
    if (!names.includes(this.channelId)) names.unshift(this.channelId);
    if (names.join() === this.names) return;  // an open menu stays open
    this.names = names.join();
    this.select.replaceChildren(...names.map((name) => new Option(name, name, false, name === this.channelId)));
    this.select.parentElement.hidden = names.length < 2;
  }
}

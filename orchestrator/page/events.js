// The server's events, for as long as somebody listens to them.

import { t } from "./i18n.js";
import { letIn } from "./key.js";

const AGAIN_MS = 2000;

export class Events {
  // `handlers` are functions by the events' names. `channel` limits them to one channel.
  constructor(handlers, channel = null) {
    Object.assign(this, { handlers, channel });
    this.source = null;
    this.wanted = false;
  }

  listen() {
    this.wanted = true;
    const query = this.channel === null ? "" : `?channel=${encodeURIComponent(this.channel)}`;
    const source = this.source = new EventSource(`/v1/events${query}`);
    const line = document.getElementById("connection");
    for (const [name, handle] of Object.entries(this.handlers)) {
      source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
    source.onopen = () => { line.textContent = ""; };
    source.onerror = () => {
      line.textContent = t("lost");
      // A refused connection is final for EventSource; a lost one it opens again. The session may have ended.
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(() => letIn().then(() => { if (this.wanted && this.source === source) this.listen(); }), AGAIN_MS);
    };
  }

  end() {
    this.wanted = false;
    this.source?.close();
    this.source = null;
  }
}

// Shows a channel in a video: over WebRTC, and as fragmented MP4 where that doesn't come about.

import { t } from "./i18n.js";
import { LivePlayer, playsMp4 } from "./player.js";
import { WhepViewer } from "./whep.js";

const FALL_BACK_MS = 3000;
const AGAIN_MS = 60_000;     // when WebRTC is tried again after it failed
const PASSING = ["offer", "packets"];  // steps that may succeed a minute later; a firewall stays where it is
const RETRY_MS = [500, 1000, 2000, 4000];
const GOOD_MS = 10_000;

export class Stream {
  // `onstate(live, reason)` is called at each change, and `onway(way, why)` with "webrtc" or "mp4" and why it isn't the
  // other one. `only` is a way that is kept to.
  constructor(video, channelUrl, { onstate, onway, only = null }) {
    Object.assign(this, { video, onstate, onway, only });
    this.whep = `${channelUrl}/whep`;
    this.mp4 = new LivePlayer(video, `${channelUrl}/preview.mp4`, onstate);
    this.viewer = null;
    this.refused = { until: 0, why: "", passes: true };
    addEventListener("pagehide", () => this.viewer?.close());
  }

  async run() {
    for (let failures = 0; ; ) {
      const began = performance.now();
      const reason = await this.#play();
      this.onstate(false, reason);
      failures = performance.now() - began > GOOD_MS ? 0 : failures + 1;
      await sleep(RETRY_MS[Math.min(failures, RETRY_MS.length) - 1] ?? 0);
    }
  }

  // Plays until it can't go on; resolves with the reason.
  async #play() {
    const alone = this.only !== "mp4" && !playsMp4();  // there is nothing to fall back to
    const webrtc = alone || this.only === "webrtc" || (this.only !== "mp4" && performance.now() >= this.refused.until);
    if (webrtc) {
      const reason = await this.#webrtc();
      if (alone && this.refused.until) return `${reason} ${t("no_media_source")}`;
      if (this.only === "webrtc" || !this.refused.until) return reason;
    }
    this.onway("mp4", this.refused.why);
    const passes = this.only !== "mp4" && this.refused.passes;
    return this.mp4.play(passes ? this.refused.until - performance.now() : Infinity);
  }

  async #webrtc() {
    const viewer = this.viewer = new WhepViewer(this.whep, this.video);
    try {
      await viewer.open(FALL_BACK_MS);
      this.refused = { until: 0, why: "", passes: true };
      this.onway("webrtc", "");
      this.onstate(true, "");
      const reason = await viewer.lost();
      if (viewer.tooLossy) this.#refuse(reason, false);
      return reason;
    } catch (error) {
      return this.#refuse(error.message || String(error), PASSING.includes(error.step));
    } finally {
      this.viewer = null;
      viewer.close();
    }
  }

  #refuse(why, passes) {
    this.refused = { until: performance.now() + AGAIN_MS, why, passes };
    return why;
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

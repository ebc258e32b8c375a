// The screen: the video with what is said about it, and the button for its sound.

import { t } from "./i18n.js";
import { Stream } from "./stream.js";

const element = (id) => document.getElementById(id);

export class Screen {
  constructor(channelUrl) {
    const video = element("video");
    const sound = element("sound");
    sound.addEventListener("click", () => {
      video.muted = !video.muted;
      sound.textContent = t(video.muted ? "sound_on" : "sound_off");
      sound.setAttribute("aria-pressed", String(!video.muted));
    });
    const only = new URLSearchParams(location.search).get("player");
    this.stream = new Stream(video, channelUrl, { onstate: showState, onway: showWay, only });
  }

  run() {
    return this.stream.run();
  }
}

function showState(live, reason) {
  const badge = element("live");
  badge.textContent = t(live ? "badge_live" : "badge_offline");
  badge.classList.toggle("on", live);
  const offline = element("offline");
  offline.hidden = live;
  if (!live) offline.textContent = reason;
}

function showWay(way, why) {
  const badge = element("way");
  badge.hidden = false;
  badge.textContent = way === "webrtc" ? "WebRTC" : "MP4";
  const line = element("why");
  line.hidden = way === "webrtc" || !why;
  line.textContent = why && t("fell_back", { why });
}

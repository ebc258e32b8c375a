// Plays an endless fragmented MP4 near its live edge.

import { t } from "./i18n.js";
import { request } from "./key.js";
import { problem } from "./problem.js";

const TARGET_S = 0.4;     // how far behind the live edge playback sits
const HURRY_S = 1.0;      // beyond this it plays slightly faster
const JUMP_S = 3.0;       // beyond this it jumps
const KEEP_S = 10;        // what is kept behind the playhead
const SILENT_MS = 6000;   // a connection without data for so long is dead

// What plays a stream out of a script: iPhones have the second one alone, from iOS 17.1 on, and none before.
function mediaSource() {
  return window.MediaSource ?? window.ManagedMediaSource;
}

// Whether this browser can play MP4 live at all.
export function playsMp4() {
  return Boolean(mediaSource());
}

export class LivePlayer {
  // `onstate(live, reason)` is called at each change.
  constructor(video, url, onstate) {
    Object.assign(this, { video, url, onstate });
  }

  // Plays for at most `limitMs`, or until it can't go on; resolves with the reason, and never rejects.
  async play(limitMs) {
    try {
      await this.#play(limitMs);
      return t("stream_ended");
    } catch (error) {
      return error.message || String(error);
    }
  }

  async #play(limitMs) {
    const Source = mediaSource();
    if (!Source) throw new Error(t("no_media_source"));
    const stop = new AbortController();
    const source = new Source();
    // What a managed source asks for: the video must not be handed to another device.
    this.video.disableRemotePlayback = true;
    const address = URL.createObjectURL(source);
    const failed = new Promise((_, reject) => {
      this.video.onerror = () => reject(new Error(this.video.error?.message || t("cant_decode")));
    });
    failed.catch(() => {});
    this.video.src = address;
    const enough = limitMs < Infinity ? setTimeout(() => stop.abort(), limitMs) : undefined;
    const watch = setInterval(() => this.#stayLive(), 250);
    try {
      await once(source, "sourceopen");
      // Not before: what came meanwhile would be behind the live edge from the beginning.
      const response = await request(this.url, { signal: stop.signal, cache: "no-store" });
      if (!response.ok) throw new Error(await problem(response));
      const type = response.headers.get("Content-Type");
      if (!type.includes("codecs=")) throw new Error(t("stream_starting"));
      if (!Source.isTypeSupported(type)) throw new Error(t("cant_play", { codecs: type }));
      const buffer = source.addSourceBuffer(type);
      await Promise.race([failed, this.#feed(source, buffer, response.body.getReader())]);
    } finally {
      clearTimeout(enough);
      clearInterval(watch);
      stop.abort();
      this.video.onerror = null;
      URL.revokeObjectURL(address);
    }
  }

  async #feed(source, buffer, reader) {
    for (;;) {
      const { done, value } = await inTime(reader.read(), SILENT_MS);
      if (done) return;
      if (source.readyState !== "open") throw new Error(t("player_closed"));
      buffer.appendBuffer(value);
      await once(buffer, "updateend");
      this.#start();
      await this.#trim(buffer);
    }
  }

  #start() {
    const { video } = this;
    if (!video.buffered.length) return;
    if (video.readyState < 2 && video.currentTime < video.buffered.start(0)) {
      video.currentTime = video.buffered.start(0);
    }
    if (video.paused) video.play().catch(() => {});
    if (video.readyState >= 2) this.onstate(true, "");
  }

  #stayLive() {
    const { video } = this;
    const ranges = video.buffered;
    if (!ranges.length || video.readyState < 1) return;
    const edge = ranges.end(ranges.length - 1);
    const behind = edge - video.currentTime;
    if (behind > JUMP_S || behind < 0 || this.#inGap()) {
      video.currentTime = Math.max(ranges.start(ranges.length - 1), edge - TARGET_S);
    }
    video.playbackRate = behind > HURRY_S ? 1.08 : behind < TARGET_S / 3 ? 0.97 : 1;
  }

  #inGap() {
    const { buffered, currentTime } = this.video;
    for (let i = 0; i < buffered.length; i++) {
      if (currentTime >= buffered.start(i) - 0.1 && currentTime <= buffered.end(i)) return false;
    }
    return true;
  }

  async #trim(buffer) {
    const { buffered, currentTime } = this.video;
    if (buffered.length && currentTime - buffered.start(0) > 2 * KEEP_S) {
      buffer.remove(buffered.start(0), currentTime - KEEP_S);
      await once(buffer, "updateend");
    }
  }
}

function once(target, event) {
  return new Promise((resolve) => target.addEventListener(event, resolve, { once: true }));
}

function inTime(promise, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(t("no_picture"))), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

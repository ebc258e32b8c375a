// Watches a channel over WebRTC by WHEP, and knows at which step it failed.

import { t } from "./i18n.js";
import { request } from "./key.js";
import { Lips } from "./lips.js";
import { reasonOf } from "./problem.js";

const LOOK_MS = 50;
const STALLED_MS = 4000;     // a stream without a new picture for so long is dead
const LOSS_SPAN_MS = 10_000;
const MOST_LOST = 0.15;      // of the packets: beyond it the picture stands more than it moves

// What to do where a step fails; the server's own messages say it themselves.
export function advice(step) {
  return t(`advice_${step}`);
}

export class StepFailed extends Error {
  constructor(step, message) {
    super(message);
    this.step = step;
  }
}

export class WhepViewer {
  // `url` is the channel's WHEP endpoint; `onstep(step)` is called as each step is done.
  constructor(url, video, onstep = () => {}) {
    Object.assign(this, { url, video, onstep });
    this.session = null;
    this.connection = null;
    this.tooLossy = false;
  }

  // Resolves once the first picture was decoded; throws StepFailed, at the latest after `limitMs`.
  async open(limitMs) {
    const until = performance.now() + limitMs;
    if (!window.RTCPeerConnection) throw new StepFailed("browser", advice("browser"));
    this.onstep("browser");
    const connection = this.connection = new RTCPeerConnection({ iceServers: await this.#iceServers(until) });
    for (const kind of ["video", "audio"]) connection.addTransceiver(kind, { direction: "recvonly" });
    const stream = new MediaStream();
    connection.ontrack = ({ track }) => stream.addTrack(track);
    await connection.setLocalDescription(await connection.createOffer());
    // Candidates are not waited for: the server learns this browser's address from its checks.
    const answer = await this.#post(connection.localDescription.sdp, until);
    await connection.setRemoteDescription({ type: "answer", sdp: answer });
    this.onstep("offer");
    this.lips = new Lips(connection);
    this.video.removeAttribute("src");
    this.video.srcObject = stream;
    this.video.play().catch(() => {});
    await this.#connected(until);
  }

  // Resolves with the reason when the picture stands still, too much is lost, or the connection ends.
  async lost() {
    const connection = this.connection;
    let [frames, moved] = [0, performance.now()];
    let since = { at: moved, ...(await this.#counts()) };
    for (;;) {
      await sleep(500);
      if (["failed", "closed"].includes(connection.connectionState)) return t("connection_lost");
      const now = performance.now();
      const counts = await this.#counts();
      if (counts.frames !== frames) [frames, moved] = [counts.frames, now];
      if (now - moved > STALLED_MS && !document.hidden) return t("no_picture");
      if (now - since.at < LOSS_SPAN_MS) continue;
      const [lost, received] = [counts.lost - since.lost, counts.received - since.received];
      this.tooLossy = lost > MOST_LOST * (lost + received);
      if (this.tooLossy) return t("too_lossy", { share: Math.round((100 * lost) / (lost + received)) });
      since = { at: now, ...counts };
    }
  }

  // Ends the session; also while the page is being left.
  close() {
    if (this.session) request(this.session, { method: "DELETE", keepalive: true }).catch(() => {});
    this.session = null;
    this.connection?.close();
    this.video.srcObject = null;
  }

  async #iceServers(until) {
    try {
      const response = await request(this.url, { method: "OPTIONS", signal: within(until) });
      return iceServers(response.headers.get("Link") ?? "");
    } catch {
      return [];  // the offer tells what is wrong
    }
  }

  async #post(body, until) {
    let response;
    try {
      response = await request(this.url, {
        method: "POST", body, headers: { "Content-Type": "application/sdp" }, signal: within(until),
      });
    } catch {
      throw new StepFailed("offer", t("no_offer_answer"));
    }
    const text = await response.text();
    if (response.status !== 201) throw new StepFailed("offer", refusal(text, response.status));
    this.session = response.headers.get("Location");
    return text;
  }

  async #connected(until) {
    const done = { ice: false, dtls: false, packets: false, decode: false };
    const reach = (step) => { if (!done[step]) { done[step] = true; this.onstep(step); } };
    for (;;) {
      const { iceConnectionState, connectionState } = this.connection;
      if (["connected", "completed"].includes(iceConnectionState)) reach("ice");
      if (connectionState === "connected") { reach("ice"); reach("dtls"); }
      const counts = await this.#counts();
      if (counts.received) reach("packets");
      if (counts.frames) { reach("decode"); return; }
      if (performance.now() > until || ["failed", "closed"].includes(connectionState)) {
        const step = Object.keys(done).find((name) => !done[name]);
        throw new StepFailed(step, advice(step));
      }
      await sleep(LOOK_MS);
    }
  }

  async #counts() {
    const counts = { frames: 0, received: 0, lost: 0 };
    const stats = await this.connection.getStats();
    this.lips.look(stats, performance.now());
    for (const each of stats.values()) {
      if (each.type !== "inbound-rtp" || each.kind !== "video") continue;
      Object.assign(counts, { frames: each.framesDecoded ?? 0, received: each.packetsReceived ?? 0, lost: each.packetsLost ?? 0 });
    }
    return counts;
  }
}

// The ICE servers of a Link header.
export function iceServers(links) {
  const pattern = /<([^>]+)>; rel="ice-server"(?:; username="([^"]*)"; credential="([^"]*)")?/g;
  return [...links.matchAll(pattern)].map(([, urls, username, credential]) => (username ? { urls, username, credential } : { urls }));
}

function refusal(text, status) {
  try {
    return reasonOf(JSON.parse(text), status);
  } catch {
    return t("answered", { status });
  }
}

function within(until) {
  return AbortSignal.timeout(Math.max(1, until - performance.now()));
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

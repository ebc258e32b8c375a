// Puts the page together: the player, the upload, the list of tasks, and the server's events.

import { ChannelMenu } from "./channels.js";
import { letIn, request } from "./key.js";
import { Ledger } from "./ledger.js";
import { Quality } from "./quality.js";
import { Recorder } from "./record.js";
import { Sayer } from "./say.js";
import { SelfTest } from "./selftest.js";
import { Speaker } from "./speak.js";
import { Stream } from "./stream.js";
import { Talker } from "./talk.js";
import { TaskList } from "./tasks.js";

const STATES = {
  idle: "idle",
  fading_in: "beginning to speak",
  speaking: "speaking",
  waiting: "waiting for frames",
  fading_out: "falling silent",
};

const element = (id) => document.getElementById(id);

function say(text, fine = false) {
  const message = element("message");
  message.hidden = !text;
  message.textContent = text ?? "";
  message.classList.toggle("fine", fine);
}

async function ask(url, method) {
  try {
    const response = await request(url, { method });
    const answer = await response.json();
    if (!response.ok) say(answer.error.message);
    return answer;
  } catch {
    say("The server does not answer. Is it still running?");
    return null;
  }
}

async function codecs() {
  const response = await request(channelUrl, { cache: "no-store" });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error.message);
  return answer.preview_codecs;
}

function showPlayer(live, reason) {
  const badge = element("live");
  badge.textContent = live ? "LIVE" : "offline";
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
  line.textContent = why && `This is MP4, about a second late, since WebRTC failed: ${why}`;
}

function showChannel(channel) {
  const { stream } = channel;
  const mood = element("mood");
  mood.hidden = !stream;
  mood.textContent = stream ? STATES[stream.state] ?? stream.state : "";
  element("interrupt").disabled = !channel.playing && !channel.preparing.length;
  const figures = [["avatar", channel.avatar], ["waiting", channel.waiting]];
  if (stream) {
    figures.push(["late frames", stream.late_frames], ["dropped frames", stream.dropped_pairs]);
    if (stream.encoder_steps_down) figures.push(["encoder too slow", stream.encoder_step]);
    for (const target of stream.targets) figures.push([target.target, target.state.replace("_", " ")]);
  } else {
    figures.push(["channel", channel.problem ?? channel.state]);
  }
  element("figures").replaceChildren(...figures.map(([name, value]) => figure(name, value)));
}

function figure(name, value) {
  const box = document.createElement("div");
  const [term, description] = [document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  description.textContent = value;
  box.append(term, description);
  return box;
}

function listen(tasks, ledger) {
  const events = new EventSource(`/v1/events?channel=${encodeURIComponent(channelId)}`);
  events.addEventListener("task", (event) => {
    const task = JSON.parse(event.data);
    tasks.show(task);
    ledger.note(task);
  });
  events.addEventListener("channel", (event) => showChannel(JSON.parse(event.data)));
  events.onopen = () => { element("connection").textContent = ""; };
  events.onerror = () => {
    element("connection").textContent = "Connection lost, trying again …";
    // A refused connection is final for EventSource; a lost one it opens again. The session may have ended.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => letIn().then(() => listen(tasks, ledger)), 2000);
  };
}

const { speech } = await letIn();
const channelId = new URLSearchParams(location.search).get("channel") || speech.channel;
const channelUrl = `/v1/channels/${encodeURIComponent(channelId)}`;
const video = element("video");
element("sound").addEventListener("click", () => {
  video.muted = !video.muted;
  element("sound").textContent = video.muted ? "Turn sound on" : "Turn sound off";
  element("sound").setAttribute("aria-pressed", String(!video.muted));
});
element("interrupt").addEventListener("click", () => ask(`${channelUrl}/interrupt`, "POST"));
const quality = new Quality(speech);
const speaker = new Speaker(channelId, quality, say);
new Recorder(say, (file) => speaker.send([file]), speech.longest_s);
new Talker(channelUrl, say);
new SelfTest(`${channelUrl}/whep`, element("selftest"), element("selftest-steps"));
new Sayer(channelUrl, quality, say);
new ChannelMenu(channelId).run();
listen(new TaskList((taskId) => ask(`/v1/tasks/${encodeURIComponent(taskId)}`, "DELETE")), new Ledger(channelId));
const only = new URLSearchParams(location.search).get("player");
new Stream(video, channelUrl, codecs, { onstate: showPlayer, onway: showWay, only }).run();

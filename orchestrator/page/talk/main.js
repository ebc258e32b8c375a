// Puts the page together: the face, the conversation, the microphone, captions, and what a person can press.

import { letIn } from "../key.js";
import { Stream } from "../stream.js";
import { keepShell, offerInstallation } from "./app.js";
import { Awake } from "./awake.js";
import { Captions } from "./captions.js";
import { Conversation } from "./conversation.js";
import { enterByAddress } from "./entry.js";
import { missing, reasonOf } from "./missing.js";
import { STRINGS } from "./strings.js";
import { Talking } from "./talking.js";
import { language, show, speak, translate } from "./words.js";

const CUTTABLE = ["thinking", "speaking", "interrupted"];

const element = (id) => document.getElementById(id);
const [hold, open, cut, message] = ["hold", "open", "cut", "message"].map(element);

let state = "off";
let lost = false;

function showState(now = state) {
  state = now;
  document.body.dataset.state = state;
  // Where nobody holds the button, nobody is listened to.
  const idle = state === "listening" && talking?.mode === "push" && !talking.held;
  show(element("state"), `state_${idle ? "ready" : state}`);
  cut.disabled = !CUTTABLE.includes(state);
}

// Shows a text by its name, or a sentence as it is; null takes it away.
function tell(text, values) {
  if (text === null || text in STRINGS.en) return show(message, text, values);
  show(message, null);
  message.hidden = false;
  message.textContent = text;
}

function showFace(live) {
  element("offline").hidden = live;
}

function showWay(way, why) {
  show(element("late"), way === "webrtc" ? null : why ? "late_why" : "late", why ? { why } : undefined);
}

function showButtons() {
  hold.classList.toggle("on", talking.held);
  open.classList.toggle("on", talking.isOpen);
  open.setAttribute("aria-pressed", String(talking.isOpen));
  show(hold.querySelector("span"), talking.held ? "held" : "hold");
  show(open.querySelector("span"), talking.isOpen ? "close" : "open");
  showState();
}

// After the microphone was shut: another connection would end what is being said, so that is waited for.
function settleMode() {
  if (state === "listening" && !talking.isOpen) conversation.listen("push");
}

function showLacks(lacks) {
  const list = element("missing");
  list.hidden = !lacks.length;
  list.replaceChildren(...lacks.map((name) => {
    const item = document.createElement("li");
    show(item, name);
    return item;
  }));
}

async function showMistrust() {
  if (await keepShell()) return;
  const item = document.createElement("li");
  const [why, link] = [document.createElement("span"), document.createElement("a")];
  show(why, "untrusted");
  show(link, "certificate");
  link.href = "/talk/authority.crt";
  item.append(why, " ", link);
  element("missing").append(item);
  element("missing").hidden = false;
}

async function begin() {
  running(true);
  tell(null);
  video.muted = false;  // now, while the browser sees that a person has pressed something
  video.play().catch(() => {});
  awake.begin();
  showState("connecting");
  conversation.run();
  await talking.prepare();
}

function end() {
  talking.end();
  conversation.close();
  awake.end();
  video.muted = true;
  running(false);
  showState("off");
}

function running(on) {
  element("start").hidden = on;
  for (const id of ["controls", "reset", "end"]) element(id).hidden = !on;
  (on ? hold : element("begin")).focus({ preventScroll: true });
}

translate();
await enterByAddress();
const { speech } = await letIn();
const channelId = new URLSearchParams(location.search).get("channel") || speech.channel;
const channelUrl = `/v1/channels/${encodeURIComponent(channelId)}`;
const video = element("video");
const captions = new Captions(element("captions"), element("interim"));
const awake = new Awake();

const conversation = new Conversation(channelUrl, {
  ready: () => {
    captions.connected();
    if (lost) tell(null);  // and not what was said of the microphone
    lost = false;
    showState("listening");
  },
  state: ({ state: now }) => {
    if (now === "interrupted") captions.interrupted();
    if (`state_${now}` in STRINGS.en) showState(now);
    settleMode();
  },
  transcript: (heard) => captions.transcript(heard),
  sentence: (said) => captions.sentence(said),
  heard: (what) => captions.heard(what),
  error: ({ message: sentence }) => tell(sentence),
  ended: ({ reason }) => {
    if (!(`ended_${reason}` in STRINGS.en)) return;  // the server stops: it is tried again
    end();
    tell(`ended_${reason}`);
  },
  lost: (why) => {
    lost = true;
    tell(why);
    showState("connecting");
  },
});

const talking = new Talking(conversation, hold, open, {
  level: (peak) => { element("level").value = peak; },
  changed: () => {
    showButtons();
    settleMode();
  },
  begun: () => {
    tell(null);
    if (CUTTABLE.includes(state)) conversation.interrupt();
  },
  failed: (error) => (error.reason === "lost" ? tell("microphone_lost") : tell(...reasonOf(error))),
  slow: () => tell("slow_network"),
});

element("begin").addEventListener("click", begin);
element("end").addEventListener("click", end);
element("reset").addEventListener("click", () => {
  conversation.reset();
  captions.clear();
});
cut.addEventListener("click", () => conversation.interrupt());
element("write").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = element("words");
  if (!field.value.trim()) return;
  tell(null);
  conversation.write(field.value.trim());
  field.value = "";
});
const other = () => (language() === "en" ? "zh" : "en");
const nameOther = () => {
  const button = element("language");
  [button.textContent, button.lang] = [other() === "zh" ? "中" : "EN", other()];
  button.setAttribute("aria-label", other() === "zh" ? "中文" : "English");
};
element("language").addEventListener("click", () => {
  speak(other());
  nameOther();
});
nameOther();
offerInstallation(element("install"));
showLacks(await missing());
showMistrust();
showState("off");
const only = new URLSearchParams(location.search).get("player");
new Stream(video, channelUrl, { onstate: showFace, onway: showWay, only }).run();

// The view of one channel: its stream, what is said on it, and ways to speak there.

import { ask, channelUrl, may } from "./api.js";
import { make, tell } from "./dom.js";
import { Events } from "./events.js";
import { named, t } from "./i18n.js";
import { Ledger } from "./ledger.js";
import { MotionButtons } from "./motions.js";
import { Quality } from "./quality.js";
import { Recorder } from "./record.js";
import { Sayer } from "./say.js";
import { Screen } from "./screen.js";
import { SelfTest } from "./selftest.js";
import { Speaker } from "./speak.js";
import { Talker } from "./talk.js";
import { TaskList } from "./tasks.js";

const element = (id) => document.getElementById(id);

export class Live {
  constructor(channelId, session) {
    Object.assign(this, { channelId, session });
    this.url = channelUrl(channelId);
    this.begun = false;
  }

  // The stream begins when it is first looked at, and goes on then: who comes back needn't wait for it.
  show() {
    if (!this.begun) this.#begin();
    this.begun = true;
  }

  hide() {}

  #begin() {
    const speaks = may(this.session.scope, "speak");
    element("speak").hidden = !speaks;
    element("no-speech").hidden = speaks;
    if (speaks) this.#letSpeak();
    const oncancel = speaks ? (taskId) => this.#ask(`/v1/tasks/${encodeURIComponent(taskId)}`, "DELETE") : null;
    const tasks = new TaskList(element("tasks"), element("none"), { oncancel });
    const ledger = new Ledger(this.channelId);
    new Events({
      task: (task) => {
        tasks.show(task);
        ledger.note(task);
      },
      channel: (channel) => {
        showChannel(channel);
        this.motions?.show(channel);
      },
    }, this.channelId).listen();
    new SelfTest(`${this.url}/whep`, element("selftest"), element("selftest-steps"));
    new Screen(this.url).run();
  }

  #letSpeak() {
    const { speech } = this.session;
    element("interrupt").addEventListener("click", () => this.#ask(`${this.url}/interrupt`, "POST"));
    const quality = new Quality(speech);
    const speaker = new Speaker(this.channelId, quality, say);
    new Recorder(say, (file) => speaker.send([file]), speech.longest_s);
    new Talker(this.url, say);
    new Sayer(this.url, quality, say);
    this.motions = new MotionButtons(this.url, say);
  }

  async #ask(url, method) {
    try {
      await ask(url, method);
    } catch (error) {
      say(error.message);
    }
  }
}

function say(text, fine = false) {
  tell(element("message"), text, fine);
}

function showChannel(channel) {
  const { stream } = channel;
  const mood = element("mood");
  mood.hidden = !stream;
  mood.textContent = stream ? named("mixer", stream.state) : "";
  element("interrupt").disabled = !channel.playing && !channel.preparing.length;
  const figures = [[t("avatar"), channel.avatar], [t("waiting"), channel.waiting]];
  if (stream) {
    figures.push([t("late_frames"), stream.late_frames], [t("dropped_frames"), stream.dropped_pairs]);
    if (stream.encoder_steps_down) figures.push([t("encoder_slow"), stream.encoder_step]);
    for (const target of stream.targets) figures.push([target.target, named("target", target.state)]);
  } else {
    figures.push([t("channel"), channel.problem ?? named("air", channel.state)]);
  }
  element("figures").replaceChildren(...figures.map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { text: value }))));
}

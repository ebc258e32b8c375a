// The view of all avatars: those that there are, those in the making, and the upload of another one.

import { ask, avatarUrl, channelUrl } from "./api.js";
import { confirmed, field, form, open } from "./dialog.js";
import { copy, keep, make, pill, tell } from "./dom.js";
import { Events } from "./events.js";
import { named, t } from "./i18n.js";
import { worded } from "./problem.js";
import { AvatarUpload } from "./upload.js";

const TONES = { queued: "", preparing: "busy", done: "good", failed: "bad", cancelled: "" };
const FINAL = ["done", "failed", "cancelled"];
const MOST_OVER = 3;
const LOOK_AFTER_MS = 50;

export class Avatars {
  constructor(session) {
    this.session = session;
    this.administers = session.scope === "administer";
    this.list = document.getElementById("avatar-cards");
    this.message = document.getElementById("avatars-message");
    this.preparations = new Map();
    // Events alone say how those in the making are: an answer to a question can arrive after a newer event.
    this.events = new Events({ avatar_task: (task) => this.#note(task) });
    document.getElementById("upload").hidden = !this.administers;
    if (this.administers) new AvatarUpload();
  }

  async show() {
    this.events.listen();
    await this.#look();
  }

  hide() {
    this.events.end();
  }

  async #try(act) {
    try {
      await act();
      tell(this.message, null);
    } catch (error) {
      tell(this.message, error.message);
    }
  }

  #note(task) {
    const before = this.preparations.get(task.task_id);
    this.preparations.set(task.task_id, task);
    this.#showPreparations();
    if (task.state !== "done" || before?.state === "done") return;
    // Once for all that the events begin with.
    clearTimeout(this.lookSoon);
    this.lookSoon = setTimeout(() => this.#look(), LOOK_AFTER_MS);
  }

  // All that go on, and the last ones that are over.
  #showPreparations() {
    const all = [...this.preparations.values()].reverse();
    const over = all.filter((task) => FINAL.includes(task.state)).slice(0, MOST_OVER);
    const shown = all.filter((task) => !FINAL.includes(task.state) || over.includes(task));
    const list = document.getElementById("preparations");
    list.parentElement.hidden = !shown.length;
    keep(list, shown.map((task) => task.task_id), () => copy("preparation"));
    for (const task of shown) this.#showPreparation(list.querySelector(`[data-key="${task.task_id}"]`), task);
  }

  #showPreparation(item, task) {
    const state = item.querySelector(".pill");
    state.className = `pill ${TONES[task.state]}`;
    state.textContent = named("prep", task.state);
    item.querySelector(".what").textContent = task.avatar;
    item.querySelector("progress").value = task.progress;
    item.querySelector("progress").setAttribute("aria-label", task.avatar);
    const step = task.step && task.state === "preparing" ? `${named("prep_step", task.step)} · ${Math.round(100 * task.progress)} %` : "";
    item.querySelector(".detail").textContent = task.error ? worded(task.error) : [step, task.warning].filter(Boolean).join(" · ");
    const cancel = item.querySelector(".cross");
    cancel.hidden = !this.administers || FINAL.includes(task.state);
    cancel.setAttribute("aria-label", t("cancel_prep", { name: task.avatar }));
    cancel.onclick = () => this.#try(() => ask(`/v1/avatar-tasks/${task.task_id}`, "DELETE"));
  }

  async #look() {
    await this.#try(async () => {
      const [{ avatars }, { channels }] = await Promise.all([ask("/v1/avatars"), ask("/v1/channels")]);
      document.getElementById("no-avatars").hidden = avatars.length > 0;
      this.list.replaceChildren(...avatars.map((avatar) => this.#card(avatar, channels)));
    });
  }

  #card(avatar, channels) {
    const card = copy("avatar-card");
    const { name } = avatar;
    const on = channels.filter((channel) => channel.avatar === name).map((channel) => channel.channel);
    card.querySelector("img").src = `${avatar.preview}?${avatar.frames}-${avatar.width}`;
    card.querySelector("h3").textContent = name;
    const about = [`${avatar.width}×${avatar.height}`, t("seconds", { seconds: avatar.duration_s.toFixed(1) }), t("speakable", { speakable: avatar.speakable_frames, frames: avatar.frames }), avatar.checkpoint];
    card.querySelector(".about").textContent = about.filter(Boolean).join(" · ");
    card.querySelector(".on").hidden = !on.length;
    card.querySelector(".on").textContent = t("shown_by", { channels: on.join(", ") });
    const button = (kind, act, allowed) => {
      const found = card.querySelector(`.${kind}`);
      found.hidden = !allowed;
      found.setAttribute("aria-label", `${t(found.dataset.t)}: ${name}`);
      found.addEventListener("click", act);
    };
    button("overlay", () => inspect(avatar), true);
    button("show-on", () => this.#showOn(name, channels), this.administers);
    button("rename", () => this.#rename(name), this.administers && !on.length);
    button("delete", () => this.#delete(name), this.administers && !on.length);
    return card;
  }

  async #showOn(name, channels) {
    const others = channels.filter((channel) => channel.channel !== this.session.speech.channel && channel.avatar !== name);
    if (!others.length) {
      await open(t("show_on_of", { name }), (body) => body.append(make("p", { text: t("show_on_none") })));
      return;
    }
    const choice = make("select", { name: "channel" }, ...others.map(({ channel }) => new Option(channel, channel)));
    await form(t("show_on_of", { name }), [field(t("channel"), choice, t("show_on_hint"))], t("show_on"), () => ask(channelUrl(choice.value), "PATCH", { avatar: name }));
    await this.#look();
  }

  async #rename(name) {
    const input = make("input", { required: "", maxlength: 64, pattern: "[a-z0-9][a-z0-9_\\-]*", value: name, autocomplete: "off", spellcheck: "false" });
    await form(t("rename_of", { name }), [field(t("new_name"), input, t("name_hint"))], t("rename"), () => ask(avatarUrl(name), "PATCH", { name: input.value }));
    await this.#look();
  }

  async #delete(name) {
    await confirmed(t("delete_avatar_ask", { name }), t("delete"), () => ask(avatarUrl(name), "DELETE"));
    await this.#look();
  }
}

// Shows how an avatar was understood, frame by frame.
function inspect({ name, frames }) {
  return open(t("overlay_of", { name }), (body) => {
    const picture = make("img", { class: "overlay" });
    const slider = make("input", { type: "range", min: 0, max: frames - 1, step: 1, value: 0 });
    const number = make("output", { text: "0" });
    const show = () => {
      number.value = slider.value;
      picture.alt = t("overlay_alt", { frame: slider.value, name });
      picture.src = `${avatarUrl(name)}/overlay.png?frame=${slider.value}`;
    };
    slider.addEventListener("input", () => { number.value = slider.value; });
    slider.addEventListener("change", show);
    show();
    body.append(picture, make("label", { class: "slider" }, make("span", { text: t("frame") }), slider, number), make("p", { class: "hint", text: t("overlay_key") }));
  }, "wide");
}

// One channel among all: how it is, its figures, its targets, and what may be done with it.

import { ask, avatarUrl, channelUrl } from "./api.js";
import { changeChannel } from "./channelform.js";
import { confirmed } from "./dialog.js";
import { copy, make, pill, tell } from "./dom.js";
import { named, t } from "./i18n.js";
import { showLedger } from "./ledger.js";
import { showLinks } from "./links.js";
import { Rate } from "./metrics.js";

const TONES = { live: "good", starting: "busy", partly: "busy", off: "bad", restarting: "bad", closed: "" };
const TARGET_TONES = { on_air: "good", connecting: "busy", reconnecting: "bad", refused: "bad" };

export class ChannelCard {
  // `session` tells what this key may, `changed()` is called when a request has changed something.
  constructor(name, session, changed) {
    Object.assign(this, { name, session, changed, channel: null, targets: "" });
    this.url = channelUrl(name);
    this.rate = new Rate();
    this.viewers = 0;
    this.element = copy("channel-card");
    this.element.querySelector("h3").textContent = name;
    this.#find(".watch").href = `/?channel=${encodeURIComponent(name)}#live`;
    this.#find(".links").addEventListener("click", () => showLinks(this.channel, this.session));
    this.#letAdminister();
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }

  #letAdminister() {
    const administers = this.session.scope === "administer";
    const own = this.name === this.session.speech.channel;
    for (const button of [this.#find(".change"), this.#find(".remove")]) button.hidden = !administers || own;
    this.#find(".own").hidden = !administers || !own;
    const form = this.#find(".add-target");
    form.hidden = !administers;
    form.querySelector("input").setAttribute("aria-label", t("target_address", { name: this.name }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#addTarget(form);
    });
    this.#find(".change").addEventListener("click", () => changeChannel(this.channel).then(this.changed));
    this.#find(".remove").addEventListener("click", () => this.#remove());
  }

  async #addTarget(form) {
    const input = form.querySelector("input");
    const message = this.#find('[role="alert"]');
    try {
      this.update(await ask(`${this.url}/targets`, "POST", { target: input.value.trim() }));
      input.value = "";
      tell(message, null);
    } catch (error) {
      tell(message, error.message);
    }
    input.focus();
  }

  async #remove() {
    await confirmed(t("remove_channel_ask", { name: this.name }), t("remove"), () => ask(this.url, "DELETE"));
    this.changed();
  }

  update(channel) {
    this.channel = channel;
    const { stream } = channel;
    const air = airOf(channel);
    const state = this.#find(".pill");
    state.className = `pill ${TONES[air] ?? ""}`;
    state.textContent = named("air", air);
    const picture = this.#find("img");
    if (picture.dataset.avatar !== channel.avatar) {
      picture.dataset.avatar = channel.avatar;
      picture.src = `${avatarUrl(channel.avatar)}/preview.png`;
    }
    this.#find(".about").textContent = [channel.avatar, stream && named("mixer", stream.state)].filter(Boolean).join(" · ");
    tell(this.#find(".problem"), channel.problem);
    this.#showFigures();
    this.#showTargets();
  }

  // The same for what an event tells, which comes as soon as the channel has counted.
  follow(channel) {
    if (channel.stream) this.rate.note(channel.stream.frames_sent, performance.now());
    this.update(channel);
  }

  // `viewers` are those over WebRTC, which the channel itself doesn't count.
  observe(viewers, ledger) {
    this.viewers = viewers;
    if (ledger) {
      const stages = ledger.flatMap((entry) => entry.stages).filter((each) => each.stage === "encoded");
      const best = stages.sort((a, b) => b.count - a.count)[0];
      this.#figure("first").textContent = best ? Math.round(1000 * best.p50_s) : "–";
      showLedger(this.#find(".ledger"), ledger);
    }
    this.#showFigures();
  }

  #figure(name) {
    return this.#find(`[data-figure="${name}"]`);
  }

  #showFigures() {
    const { stream, waiting } = this.channel;
    const rate = stream && this.rate.perSecond(performance.now());
    this.#figure("rate").textContent = rate === null ? "–" : rate.toFixed(1);
    this.#figure("late").textContent = stream ? stream.late_frames : "–";
    this.#figure("late").classList.toggle("warn", Boolean(stream?.late_frames));
    this.#figure("viewers").textContent = (stream?.preview_readers ?? 0) + this.viewers;
    this.#figure("waiting").textContent = waiting;
  }

  #showTargets() {
    const found = withStates(this.channel);
    const shown = JSON.stringify(found);
    if (shown === this.targets) return;  // so that the focus stays where it is
    this.targets = shown;
    this.#find(".no-targets").hidden = found.length > 0;
    this.#find(".targets").replaceChildren(...found.map((target, number) => this.#target(target, number)));
  }

  #target({ target, state, problem }, number) {
    const line = make("div", { class: "line" }, make("code", { text: target }));
    if (state) line.append(pill(TARGET_TONES[state] ?? "", named("target", state)));
    if (this.session.scope === "administer") {
      const label = t("remove_target", { target });
      line.append(make("button", { type: "button", class: "cross", "aria-label": label, title: label, text: "×", onclick: () => this.#removeTarget(target, number) }));
    }
    const item = make("li", {}, line);
    if (problem) item.append(make("p", { class: "detail", text: problem }));
    return item;
  }

  async #removeTarget(target, number) {
    await confirmed(t("remove_target_ask", { target }), t("remove"), async () => {
      this.update(await ask(`${this.url}/targets/${number}?target=${encodeURIComponent(target)}`, "DELETE"));
    });
  }
}

// How a channel does in one word: of its process, and of its targets where that runs.
export function airOf({ state, stream }) {
  if (state !== "running") return state;
  if (!stream) return "starting";
  const off = stream.targets.filter((target) => target.state !== "on_air").length;
  if (!off) return "live";
  return off < stream.targets.length ? "partly" : "off";
}

// The targets as the channel names them, each with its state where its process tells one.
function withStates({ targets, stream }) {
  const told = [...(stream?.targets ?? [])];
  return targets.map((target) => {
    const place = told.findIndex((each) => each.target === target);
    const { state = null, problem = null } = place < 0 ? {} : told.splice(place, 1)[0];
    return { target, state, problem };
  });
}

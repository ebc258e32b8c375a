// How quickly the newest speeches of the channel began: a row for each stage, two columns for each kind of speech.

import { named, t } from "./i18n.js";
import { request } from "./key.js";

export class Ledger {
  constructor(channelId) {
    this.url = `/v1/ledger?channel=${encodeURIComponent(channelId)}`;
    this.box = document.getElementById("ledger");
    this.encoded = new Set();  // tasks whose first frame has come out of the encoder
    this.#look();
  }

  // A task has changed; its speech is in the ledger from its stage `encoded` on.
  note(task) {
    if (task.timings_s.encoded === undefined || this.encoded.has(task.task_id)) return;
    this.encoded.add(task.task_id);
    this.#look();
  }

  async #look() {
    try {
      const answer = await request(this.url, { cache: "no-store" });
      if (answer.ok) showLedger(this.box, (await answer.json()).ledger);
    } catch {
      // the header says already that the server does not answer
    }
  }
}

// Puts the table of the ledger's entries into `box`, which is hidden where there is nothing to tell.
export function showLedger(box, ledger) {
  const entries = ledger.filter((entry) => entry.stages.length);
  box.hidden = !entries.length;
  const names = [...new Set(entries.flatMap((entry) => entry.stages.map((each) => each.stage)))];
  const head = entries.map(({ kind, speeches, waited }) => `${named("kind", kind)} (${speeches - waited})`);
  box.querySelector("thead").replaceChildren(row("th", [t("ledger_head"), ...head]));
  box.querySelector("tbody").replaceChildren(...names.map((name) => row("td", [
    named("stage", name),
    ...entries.map((entry) => cell(entry.stages.find((each) => each.stage === name))),
  ])));
}

function cell(stage) {
  return stage ? `${Math.round(1000 * stage.p50_s)} / ${Math.round(1000 * stage.p95_s)}` : "";
}

function row(kind, texts) {
  const line = document.createElement("tr");
  for (const text of texts) {
    const box = document.createElement(kind);
    box.textContent = text;
    line.append(box);
  }
  return line;
}

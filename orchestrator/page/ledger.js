// How quickly the newest speeches of the channel began: a row for each stage, two columns for each kind of speech.

import { request } from "./key.js";

const STAGES = {
  started: "taken",
  features: "sound understood",
  first_chunk: "first chunk begun",
  first_face: "first face made",
  handed_over: "handed to the channel",
  first_frame: "on the stream",
  encoded: "encoded",
};

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
      if (answer.ok) this.#show((await answer.json()).ledger.filter((entry) => entry.stages.length));
    } catch {
      // the header says already that the server does not answer
    }
  }

  #show(entries) {
    this.box.hidden = !entries.length;
    const names = [...new Set(entries.flatMap((entry) => entry.stages.map((each) => each.stage)))];
    const head = entries.map(({ kind, speeches, waited }) => `${kind} (${speeches - waited})`);
    this.box.querySelector("thead").replaceChildren(row("th", ["ms, median / 95 %", ...head]));
    this.box.querySelector("tbody").replaceChildren(...names.map((name) => row("td", [
      STAGES[name] ?? name.replaceAll("_", " "),
      ...entries.map((entry) => cell(entry.stages.find((each) => each.stage === name))),
    ])));
  }
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

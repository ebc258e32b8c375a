// What both sides said, the newest last. Of an answer that was cut, what nobody heard is struck out.

import { words } from "./words.js";

const MOST_LINES = 60;

export class Captions {
  constructor(list, interim) {
    Object.assign(this, { list, interim });
    this.lines = new Map();  // by connection, side and turn
    this.resumes = new WeakMap();  // of each line the place up to which it was said again
    this.connection = 0;
  }

  // Turns are counted from 1 again.
  connected() {
    this.connection++;
    this.interim.hidden = true;
  }

  // What the person says: it changes until it is final. Only then is it read out by a screen reader.
  transcript({ turn, text, final }) {
    this.interim.hidden = final || !text;
    this.interim.textContent = final ? "" : text;
    if (final && text) this.#line("you", turn).textContent = text;
    this.#follow();
  }

  // A further sentence of the answer.
  sentence({ turn, text }) {
    const line = this.#line("avatar", turn);
    if (this.resumes.has(line)) {
      const at = line.textContent.indexOf(text, this.resumes.get(line));
      this.resumes.set(line, at + text.length);
      if (at >= 0) return;  // said again
    }
    line.append(line.textContent && !/[。！？]$/.test(line.textContent) ? ` ${text}` : text);
    this.#follow();
  }

  // The person speaks into the answer. Where that turns out to be no words, the rest of it is said again.
  interrupted() {
    for (const line of this.lines.values()) this.resumes.set(line, 0);
  }

  // What of the answer was heard, once it has ended.
  heard({ turn, text }) {
    const line = this.lines.get(this.#name("avatar", turn));
    if (!line) return;
    const said = line.textContent;
    const end = endOf(text, said);
    if (!said.slice(end).trim()) return;
    const rest = document.createElement("s");
    rest.textContent = said.slice(end);
    line.replaceChildren(said.slice(0, end), rest);
  }

  clear() {
    this.list.replaceChildren();
    this.lines.clear();
    this.interim.hidden = true;
  }

  #name(side, turn) {
    return `${this.connection} ${side} ${turn}`;
  }

  #line(side, turn) {
    const name = this.#name(side, turn);
    if (!this.lines.has(name)) {
      const [item, who, said] = ["p", "b", "span"].map((kind) => document.createElement(kind));
      item.className = side;
      [who.textContent, who.dataset.words] = [words(side), side];
      item.append(who, said);
      this.list.append(item);
      this.lines.set(name, said);
      if (this.lines.size > MOST_LINES) this.#forgetOldest();
    }
    return this.lines.get(name);
  }

  #forgetOldest() {
    const [[name, said]] = this.lines;
    this.lines.delete(name);
    said.parentElement.remove();
  }

  #follow() {
    this.list.scrollTop = this.list.scrollHeight;
  }
}

// Where a text ends that begins another one, whose spaces may differ.
function endOf(beginning, text) {
  let left = beginning.replace(/\s/g, "").length;
  let end = 0;
  for (; end < text.length && left; end++) left -= /\S/.test(text[end]);
  return end;
}

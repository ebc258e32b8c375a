// What both sides said, the newest last. Of an answer that was cut, what nobody heard is struck out.

import { words } from "./words.js";

const MOST_LINES = 60;

export class Captions {
  constructor(list, interim) {
    Object.assign(this, { list, interim });
    this.lines = new Map();  // by connection, side and turn
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
    line.append(line.textContent && !/[。！？]$/.test(line.textContent) ? ` ${text}` : text);
    this.#follow();
  }

  // What of the answer was heard, once it has ended.
  heard({ turn, text }) {
    const line = this.lines.get(this.#name("avatar", turn));
    const said = line?.textContent ?? "";
    const heard = text.trim().length;
    if (!line || heard >= said.trim().length) return;
    const rest = document.createElement("s");
    rest.textContent = said.slice(heard);
    line.replaceChildren(said.slice(0, heard), rest);
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
      const [item, who, said] = ["li", "b", "span"].map((kind) => document.createElement(kind));
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

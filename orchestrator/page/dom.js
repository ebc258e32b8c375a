// Elements made by scripts.

import { fill } from "./i18n.js";

// An element with attributes and children; `text`, `on…` and other properties of the element are set as such.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on") || typeof value === "boolean") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// A copy of a <template>'s element, with its words.
export function copy(id) {
  return fill(document.getElementById(id).content.cloneNode(true)).firstElementChild;
}

// The element of `key` in a list of elements, made where it is missing and put at its place; those without a key left go.
export function keep(list, keys, made) {
  const there = new Map([...list.children].map((child) => [child.dataset.key, child]));
  for (const [place, key] of keys.entries()) {
    const child = there.get(key) ?? made(key);
    child.dataset.key = key;
    there.delete(key);
    if (list.children[place] !== child) list.insertBefore(child, list.children[place] ?? null);
  }
  for (const child of there.values()) child.remove();
}

// A state as a coloured word.
export function pill(tone, text) {
  return make("span", { class: `pill ${tone}`, text });
}

// Shows a message in a line that is hidden where there is none.
export function tell(line, text, fine = false) {
  line.hidden = !text;
  line.textContent = text ?? "";
  line.classList.toggle("fine", fine);
}

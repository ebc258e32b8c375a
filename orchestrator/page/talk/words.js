// The page's language: the one that was chosen here before, else the browser's, else English.

import { STRINGS } from "./strings.js";

const KEPT = "talk-language";

let chosen = kept() ?? navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase()).find((name) => name in STRINGS) ?? "en";

export const language = () => chosen;

// The text of a name, in the page's language.
export function words(name, values = {}) {
  return STRINGS[chosen][name].replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

// Changes the language, and every text of the document.
export function speak(another) {
  chosen = another;
  try {
    localStorage.setItem(KEPT, another);
  } catch {
    // A browser that keeps nothing asks again the next time.
  }
  translate();
}

// Fills in all elements that name their text.
export function translate() {
  document.documentElement.lang = chosen;
  document.title = words("title");
  for (const each of document.querySelectorAll("[data-words]")) each.textContent = words(each.dataset.words);
  for (const each of document.querySelectorAll("[data-words-label]")) each.setAttribute("aria-label", words(each.dataset.wordsLabel));
  for (const each of document.querySelectorAll("[data-words-hint]")) each.placeholder = words(each.dataset.wordsHint);
}

// Shows a text in an element, which follows the language from then on; no name takes the element away.
export function show(element, name, values) {
  element.hidden = !name;
  element.textContent = name ? words(name, values) : "";
  if (name && !values) element.dataset.words = name;
  else delete element.dataset.words;
}

function kept() {
  try {
    const language = localStorage.getItem(KEPT);
    return language in STRINGS ? language : null;
  } catch {
    return null;
  }
}

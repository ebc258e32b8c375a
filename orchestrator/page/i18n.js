// The page's words in the reader's language. HTML names them by data-t and its relatives, scripts call `t`.

import { chinese } from "./chinese.js";
import { english } from "./english.js";

export const WORDS = { en: english, zh: chinese };
export const NAMES = { en: "English", zh: "中文" };

const KEPT = "language";
const ATTRIBUTES = { "data-t-label": "aria-label", "data-t-placeholder": "placeholder", "data-t-title": "title" };

export const language = chosen() ?? preferred() ?? "en";

// The words of a key, with {name} replaced by values.
export function t(key, values = {}) {
  return (WORDS[language][key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// A word for a state or a kind that the API names; one that this page doesn't know stays as it is.
export function named(group, value) {
  const key = `${group}_${value}`.replaceAll(" ", "_");
  return WORDS[language][key] ?? String(value).replaceAll("_", " ");
}

// Puts the words into all elements below `root` that name some.
export function fill(root) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const [key, attribute] of Object.entries(ATTRIBUTES)) {
    for (const element of root.querySelectorAll(`[${key}]`)) element.setAttribute(attribute, t(element.getAttribute(key)));
  }
  return root;
}

// Keeps the language, and opens the page in it.
export function choose(code) {
  localStorage.setItem(KEPT, code);
  location.reload();
}

function chosen() {
  try {
    const kept = localStorage.getItem(KEPT);
    return kept in WORDS ? kept : null;
  } catch {
    return null;  // storage is forbidden
  }
}

function preferred() {
  return navigator.languages.map((tag) => tag.split("-")[0]).find((code) => code in WORDS);
}

document.documentElement.lang = language === "zh" ? "zh-CN" : language;

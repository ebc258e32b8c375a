// The switches of colours and language.

import { NAMES, choose, language, t } from "./i18n.js";

const THEMES = ["", "light", "dark"];  // "" is as the system

export function listenToSwitches() {
  const theme = document.getElementById("theme");
  theme.replaceChildren(...THEMES.map((name) => new Option(t(`theme_${name || "auto"}`), name)));
  theme.value = document.documentElement.dataset.theme;
  theme.addEventListener("change", () => {
    document.documentElement.dataset.theme = theme.value;
    localStorage.setItem("theme", theme.value);
  });
  const languages = document.getElementById("language");
  languages.replaceChildren(...Object.entries(NAMES).map(([code, name]) => new Option(name, code)));
  languages.value = language;
  languages.addEventListener("change", () => choose(languages.value));
}

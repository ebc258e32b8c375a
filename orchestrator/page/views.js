// The page's views: one is seen at a time, which the address names behind its #.

import { t } from "./i18n.js";

const FIRST = "live";

export class Views {
  // `views` are objects by the views' names, whose `show` and `hide` are called as they come and go.
  constructor(views) {
    this.views = views;
    this.current = null;
    addEventListener("hashchange", () => this.#follow(true));
    this.#follow(false);
  }

  #follow(moved) {
    const wanted = location.hash.slice(1).split("/")[0];
    const name = wanted in this.views ? wanted : FIRST;
    if (name === this.current) return;
    this.views[this.current]?.hide();
    this.current = name;
    document.body.dataset.view = name;
    for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== `view-${name}`;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${t(name)} · latentsync-realtime`;
    this.views[name].show();
    // Screen readers go on reading at the new view.
    if (moved) document.querySelector(`#view-${name} h2`).focus();
    scrollTo(0, 0);
  }
}

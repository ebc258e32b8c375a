// Keys that may watch one channel and do nothing else: they can stand in the page of another site.

import { ask } from "./api.js";
import { make, tell } from "./dom.js";
import { t } from "./i18n.js";

// Their list, and a form that makes one; `made(key)` is called with each new key, which nothing shows again.
export function watchKeys(channelUrl, made) {
  const url = `${channelUrl}/keys`;
  const list = make("ul", { class: "plain" });
  const message = make("p", { class: "message", role: "alert", hidden: true });
  const name = make("input", { "aria-label": t("watch_key_name"), placeholder: t("watch_key_name"), pattern: "[a-z0-9][a-z0-9_\\-]{0,31}", required: "" });
  const form = make("form", { class: "row" }, name, make("button", { type: "submit", text: t("watch_key_make") }));

  const attempt = async (work) => {
    tell(message, null);
    try {
      await work();
    } catch (error) {
      tell(message, error.message);
    }
  };
  const show = async () => {
    const { keys } = await ask(url);
    list.replaceChildren(...keys.map((each) => item(each.name, () => attempt(async () => {
      await ask(`${url}/${encodeURIComponent(each.name)}`, "DELETE");
      await show();
    }))));
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const { key } = await ask(url, "POST", { name: name.value.trim() });
      name.value = "";
      made(key);
      await show();
    });
  });
  attempt(show);
  return make("section", {}, make("h3", { text: t("watch_keys") }), make("p", { class: "hint", text: t("watch_keys_hint") }), list, form, message);
}

function item(name, remove) {
  const label = t("watch_key_remove", { name });
  const button = make("button", { type: "button", class: "cross", "aria-label": label, title: label, text: "×", onclick: remove });
  return make("li", {}, make("div", { class: "line" }, make("code", { text: name }), button));
}

// Where a channel can be watched, embedded and talked with.

import { channelUrl } from "./api.js";
import { open } from "./dialog.js";
import { make } from "./dom.js";
import { t } from "./i18n.js";
import { watchKeys } from "./watchkeys.js";

const LOOPBACK = /^(localhost|127\.|\[::1\])/;

// Shows them for a channel as the API tells it.
export function showLinks(channel, session) {
  return open(t("links_of", { name: channel.channel }), (body) => body.append(...contents(channel, session)), "wide");
}

function contents(channel, session) {
  const name = encodeURIComponent(channel.channel);
  const at = (path) => `${location.origin}${path}`;
  const embed = at(`/embed?channel=${name}`);
  const phone = at(`/talk?channel=${name}`);
  const notes = [];
  if (LOOPBACK.test(location.hostname)) notes.push(hint(t("link_loopback")));
  else if (!window.isSecureContext) notes.push(hint(t("link_insecure")));
  const code = make("img", { class: "qr", src: `${channelUrl(channel.channel)}/qr.svg`, alt: t("qr_alt", { address: phone }) });
  const frame = link(t("link_embed"), snippet(embed), t("link_embed_hint"));
  const browserSource = link(t("link_obs"), embed);
  const parts = [
    ...notes,
    make("div", { class: "phone" }, code, link(t("link_phone"), phone)),
    link(t("link_page"), at(`/?channel=${name}`)),
    link(t("link_whep"), at(`${channelUrl(channel.channel)}/whep`)),
    browserSource,
    link(t("link_vlc"), at(channel.preview)),
    frame,
  ];
  const published = channel.targets.filter((target) => target.includes("://"));
  if (published.length) {
    parts.push(make("h3", { text: t("link_published") }), make("ul", { class: "plain" }, ...published.map((target) => make("li", {}, make("code", { text: target })))), hint(t("link_published_hint")));
  }
  if (session.key_required) parts.push(hint(t("link_key_hint")));
  if (session.key_required && session.scope === "administer") {
    parts.push(watchKeys(channelUrl(channel.channel), (key) => {
      const address = `${embed}#key=${key}`;
      browserSource.querySelector("input").value = address;
      const input = frame.querySelector("input");
      input.value = snippet(address);
      input.focus();
    }));
  }
  return parts;
}

function snippet(address) {
  return `<iframe src="${address}" width="640" height="640" allow="autoplay; fullscreen" style="border:0"></iframe>`;
}

function hint(text) {
  return make("p", { class: "hint", text });
}

// An address with a button that copies it.
function link(label, address, below = null) {
  const input = make("input", { value: address, readonly: "", "aria-label": label });
  input.addEventListener("focus", () => input.select());
  const button = make("button", { type: "button", text: t("copy"), "aria-label": `${t("copy")}: ${label}` });
  button.addEventListener("click", async () => {
    input.select();
    try {
      await navigator.clipboard.writeText(input.value);
    } catch {
      document.execCommand("copy");  // a page without HTTPS has no clipboard
    }
    button.textContent = t("copied");
    setTimeout(() => { button.textContent = t("copy"); }, 2000);
  });
  const box = make("div", { class: "link" }, make("span", { text: label }), make("div", { class: "row" }, input, button));
  if (below) box.append(make("small", { text: below }));
  return box;
}

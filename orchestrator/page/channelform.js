// The forms in which a channel is made and changed.

import { ask, channelUrl } from "./api.js";
import { field, form } from "./dialog.js";
import { make } from "./dom.js";
import { t } from "./i18n.js";

const PRESETS = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"];
const NUMBERS = ["video_bitrate_kbps", "fade_frames", "mouth_fade_frames"];
const TEXTS = ["voice", "language"];

// Makes a channel; resolves with a sentence about what it costs, or null, once the form is closed.
export async function makeChannel() {
  const avatars = await avatarNames();
  let note = null;
  const name = make("input", { name: "channel", required: "", maxlength: 32, pattern: "[a-z0-9][a-z0-9_\\-]*", autocomplete: "off", spellcheck: "false" });
  const target = make("input", { name: "target", placeholder: t("target_example"), autocomplete: "off", spellcheck: "false" });
  const fields = [
    field(t("channel_name"), name, t("name_hint")),
    field(t("avatar_shown"), avatarChoice(avatars, avatars[0])),
    field(t("first_target"), target, t("optional")),
    make("details", {}, make("summary", { text: t("more") }), ...details({})),
  ];
  await form(t("new_channel"), fields, t("make"), async (box) => {
    const values = { ...entered(box), channel: name.value, targets: target.value.trim() ? [target.value.trim()] : [] };
    const set = Object.entries(values).filter(([, value]) => value !== null);
    const { encoder_cost: cost } = await ask("/v1/channels", "POST", Object.fromEntries(set));
    note = cost && !cost.fits ? tooSlow(cost) : null;
  });
  return note;
}

// Changes a channel; only what was changed is sent.
export async function changeChannel(channel) {
  const fields = [
    field(t("avatar_shown"), avatarChoice(await avatarNames(), channel.avatar)),
    ...details(channel),
    make("p", { class: "hint", text: t("change_restarts") }),
  ];
  await form(t("change_channel", { name: channel.channel }), fields, t("save"), async (box) => {
    const changed = Object.entries(entered(box)).filter(
      ([name, value]) => JSON.stringify(value) !== JSON.stringify(channel[name]) && !(value === null && NUMBERS.includes(name)),
    );
    if (changed.length) await ask(channelUrl(channel.channel), "PATCH", Object.fromEntries(changed));
  });
}

function tooSlow({ suggested_picture_size: size }) {
  return size ? t("encoder_try_size", { width: size[0], height: size[1] }) : t("encoder_too_slow");
}

async function avatarNames() {
  try {
    return (await ask("/v1/avatars")).avatars.map((avatar) => avatar.name);
  } catch {
    return [];  // the form then says what is wrong with a channel without one
  }
}

function avatarChoice(names, present) {
  const all = present && !names.includes(present) ? [present, ...names] : names;
  return make("select", { name: "avatar" }, ...all.map((name) => new Option(name, name, false, name === present)));
}

function details(channel) {
  const [width, height] = channel.picture_size ?? ["", ""];
  const side = (name, value) => make("input", { name, type: "number", min: 64, max: 4096, step: 2, value, placeholder: t("as_avatar") });
  const number = (name, min, max) => make("input", { name, type: "number", min, max, step: 1, value: channel[name] ?? "", placeholder: t("as_settings") });
  const preset = make("select", { name: "x264_preset" }, ...PRESETS.map((name) => new Option(name, name, false, name === channel.x264_preset)));
  if (!channel.x264_preset) preset.prepend(new Option(t("as_settings"), "", true, true));
  const voice = make("input", { name: "voice", maxlength: 64, value: channel.voice ?? "", placeholder: t("voice_default") });
  const language = make("input", { name: "language", maxlength: 32, value: channel.language ?? "", placeholder: "en, zh-CN" });
  return [
    make("div", { class: "pair" }, field(t("picture_width"), side("width", width)), field(t("picture_height"), side("height", height))),
    make("div", { class: "pair" }, field(t("bitrate"), number("video_bitrate_kbps", 100, 50_000)), field(t("preset"), preset)),
    make("div", { class: "pair" }, field(t("mouth_fade"), number("mouth_fade_frames", 0, 25)), field(t("body_fade"), number("fade_frames", 0, 25))),
    make("div", { class: "pair" }, field(t("voice"), voice), field(t("text_language"), language)),
  ];
}

// What the form holds, by the API's names; null for what is left empty.
function entered(box) {
  const text = (name) => box.elements[name].value.trim() || null;
  const number = (name) => (text(name) === null ? null : Number(text(name)));
  const size = [number("width"), number("height")];
  if ((size[0] === null) !== (size[1] === null)) throw new Error(t("size_both"));
  return {
    avatar: text("avatar"),
    picture_size: size[0] === null ? null : size,
    x264_preset: text("x264_preset"),
    ...Object.fromEntries(NUMBERS.map((name) => [name, number(name)])),
    ...Object.fromEntries(TEXTS.map((name) => [name, text(name)])),
  };
}

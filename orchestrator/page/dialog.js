// Questions and forms in front of the page; Escape closes them, and the focus goes back to where it was.

import { copy, make, tell } from "./dom.js";
import { t } from "./i18n.js";

// A dialog with a title and a body; resolves once it is closed. `filled` gets the body and a function that closes.
export function open(title, filled, kind = "") {
  const dialog = copy("dialog");
  if (kind) dialog.classList.add(kind);
  dialog.querySelector("h2").textContent = title;
  document.body.append(dialog);
  const close = () => dialog.close();
  dialog.querySelector(".close").addEventListener("click", close);
  filled(dialog.querySelector(".body"), close);
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    dialog.remove();
    resolve();
  }));
}

// A form that `send(form)` acts on: it is closed when that succeeds, and shows what went wrong where it doesn't.
export function form(title, fields, label, send, danger = false) {
  return open(title, (body, close) => {
    const message = make("p", { class: "message", role: "alert", hidden: true });
    const submit = make("button", { type: "submit", class: danger ? "danger" : "primary", text: label });
    const buttons = make("div", { class: "buttons" }, submit, make("button", { type: "button", text: t("cancel"), onclick: close }));
    const box = make("form", { class: "fields" }, ...fields, message, buttons);
    box.addEventListener("submit", async (event) => {
      event.preventDefault();
      submit.disabled = true;
      tell(message, null);
      try {
        await send(box);
        close();
      } catch (error) {
        tell(message, error.message);
      } finally {
        submit.disabled = false;
      }
    });
    body.append(box);
  });
}

// Asks before something is done that can't be undone.
export function confirmed(question, label, act) {
  return form(label, [make("p", { class: "question", text: question })], label, act, true);
}

// A field with its label, and a hint below it.
export function field(label, input, hint = null) {
  const box = make("label", { class: "field" }, make("span", { text: label }), input);
  if (hint) box.append(make("small", { text: hint }));
  return box;
}

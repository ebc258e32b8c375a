// The fields under Quality: their limits are those of the server, and what is wrong names them as the page does.

import { t } from "./i18n.js";

const FIELDS = { num_inference_steps: "steps", guidance_scale: "guidance" };

export class Quality {
  // `limits` are those of /v1/session, by the API's names.
  constructor(limits) {
    this.inputs = Object.entries(FIELDS).map(([field, id]) => [field, document.getElementById(id)]);
    for (const [field, input] of this.inputs) {
      input.max = limits[field].maximum;
      input.placeholder = t("default_is", { value: limits[field].default });
    }
  }

  // What was entered, by the API's names; throws an Error that names what can't be sent.
  entered() {
    for (const [, input] of this.inputs) {
      if (input.checkValidity()) continue;
      input.closest("details").open = true;
      input.focus();
      const message = input.step === "1" ? "must_be_whole" : "must_be_number";
      throw new Error(t(message, { name: label(input), from: input.min, to: input.max }));
    }
    return this.inputs.map(([field, input]) => [field, input.value.trim()]).filter(([, value]) => value);
  }

  // A message of the server with the page's words for the fields.
  worded(message) {
    return this.inputs.reduce((text, [field, input]) => text.replaceAll(field, label(input)), message);
  }
}

function label(input) {
  return input.labels[0].querySelector("span").textContent;
}

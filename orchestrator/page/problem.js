// What the server says is wrong, for the person: in their language where the code is known, with the server's own words
// behind it, which have the values.

import { CHINESE_ERRORS } from "./chinese_errors.js";
import { language, t } from "./i18n.js";

const WORDS = { zh: CHINESE_ERRORS };

// The sentence for an `error` of the API, {code, message}.
export function worded({ code, message }) {
  const words = WORDS[language]?.[code];
  return words ? `${words}（${message}）` : message;
}

// The sentence for the body of an answer that refuses something; `status` where it says nothing.
export function reasonOf(answer, status) {
  return answer?.error ? worded(answer.error) : t("answered", { status });
}

// The same for a response whose body was not read.
export async function problem(response) {
  return reasonOf(await response.json().catch(() => null), response.status);
}

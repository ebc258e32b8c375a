// The server's JSON API.

import { t } from "./i18n.js";
import { request } from "./key.js";
import { problem } from "./problem.js";

const SCOPES = ["watch", "view", "speak", "administer"];

// Whether a key of `scope` may do what `wanted` names.
export function may(scope, wanted) {
  return SCOPES.indexOf(scope) >= SCOPES.indexOf(wanted);
}

// What the server answers, null for nothing; throws an Error with a sentence for the person.
export async function ask(url, method = "GET", body = undefined) {
  const options = { method, cache: "no-store" };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await request(url, options);
  } catch {
    throw new Error(t("no_answer"));
  }
  if (!response.ok) throw new Error(await problem(response));
  return response.json().catch(() => null);
}

export function channelUrl(name) {
  return `/v1/channels/${encodeURIComponent(name)}`;
}

export function avatarUrl(name) {
  return `/v1/avatars/${encodeURIComponent(name)}`;
}

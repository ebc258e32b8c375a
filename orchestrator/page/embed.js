// The player alone, for frames of other sites. A key comes behind the #, which browsers send to no server.

import { channelUrl } from "./api.js";
import { fill, t } from "./i18n.js";
import { bring, request } from "./key.js";
import { Screen } from "./screen.js";

fill(document);
const key = new URLSearchParams(location.hash.slice(1)).get("key");
if (key) bring(key);

async function session() {
  for (;;) {
    const answer = await request("/v1/session", { cache: "no-store" }).then((response) => response.json()).catch(() => null);
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

const { scope, speech, channel } = await session();
if (scope) {
  new Screen(channelUrl(new URLSearchParams(location.search).get("channel") || channel || speech.channel)).run();
} else {
  document.getElementById("offline").textContent = t("embed_needs_key");
}

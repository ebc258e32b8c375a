// Puts the page together: the session, the views, and what all of them share.

import { AllTasks } from "./alltasks.js";
import { listenToSwitches } from "./appearance.js";
import { Avatars } from "./avatars.js";
import { Channels } from "./channels.js";
import { fill } from "./i18n.js";
import { letIn } from "./key.js";
import { Live } from "./live.js";
import { ChannelMenu } from "./menu.js";
import { Views } from "./views.js";

fill(document);
listenToSwitches();
const session = await letIn();
// A key that may watch alone sees nothing of what this page shows beside the stream.
if (session.scope === "watch") location.replace(`/embed${location.search}`);
const out = document.getElementById("sign-out");
out.hidden = !session.key_required;
out.addEventListener("click", async () => {
  await fetch("/v1/session", { method: "DELETE" });
  location.reload();
});
const channelId = new URLSearchParams(location.search).get("channel") || session.speech.channel;
new ChannelMenu(channelId).run();
new Views({
  live: new Live(channelId, session),
  channels: new Channels(session),
  avatars: new Avatars(session),
  tasks: new AllTasks(session),
});

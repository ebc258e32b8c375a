// Keeps the page's shell for when the server can't be reached. Nothing of the API is ever kept: no sound, no words, no key.

const SHELL = [
  "/talk",
  "/page/chinese.js", "/page/chinese_errors.js", "/page/english.js", "/page/i18n.js", "/page/icon.svg", "/page/key.js", "/page/lips.js", "/page/microphone.js", "/page/player.js", "/page/problem.js", "/page/stream.js", "/page/whep.js",
  ...["app.js", "awake.js", "captions.js", "conversation.js", "ear.js", "entry.js", "icon-192.png", "main.js",
    "manifest.webmanifest", "missing.js", "strings.js", "talk.css", "talking.js", "words.js"].map((name) => `/page/talk/${name}`),
];
const KEPT = "talk-shell";

addEventListener("install", (event) => {
  skipWaiting();
  event.waitUntil(caches.open(KEPT).then((cache) => cache.addAll(SHELL)));
});

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

// The server's own file as long as it answers, so that page and server always fit together.
addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== location.origin || !SHELL.includes(pathname)) return;
  event.respondWith(newest(event.request, pathname));
});

async function newest(request, pathname) {
  const cache = await caches.open(KEPT);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(pathname, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(pathname);
    if (!kept) throw error;
    return kept;
  }
}

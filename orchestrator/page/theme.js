// No module, so that it runs before the page is painted: a page that turns dark after a moment dazzles.
try {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "";
} catch {
  // storage is forbidden, as in frames of some browsers: the browser's own preference holds
}

// A list of tasks.

import { copy } from "./dom.js";
import { named, t } from "./i18n.js";
import { worded } from "./problem.js";

const FINAL = new Set(["done", "failed", "cancelled"]);

export class TaskList {
  // `list` shows at most `most` tasks, `none` is seen while there is none. `oncancel` is null where this key may not.
  constructor(list, none, { oncancel, most = 30, withChannel = false }) {
    Object.assign(this, { list, none, oncancel, most, withChannel });
    this.items = new Map();
  }

  show(task) {
    this.none.hidden = true;
    const item = this.items.get(task.task_id) ?? this.#add(task);
    item.className = `task ${task.state}`;
    item.querySelector(".state").textContent = named("task", task.state);
    const name = item.querySelector(".what");
    name.textContent = name.title = task.file_name ?? t(task.source === "text" ? "task_of_text" : "task_of_speech");
    const progress = item.querySelector("progress");
    if (task.progress === null) progress.removeAttribute("value");  // shown as going on without an end
    else progress.value = task.progress;
    item.querySelector(".detail").textContent = detail(task, this.withChannel);
    item.querySelector(".cancel").hidden = !this.oncancel || FINAL.has(task.state);
  }

  #add(task) {
    const item = copy("task");
    item.dataset.task = task.task_id;
    item.querySelector(".cancel").addEventListener("click", () => this.oncancel(task.task_id));
    this.list.prepend(item);
    this.items.set(task.task_id, item);
    if (this.items.size > this.most) {
      const [oldest, element] = this.items.entries().next().value;
      element.remove();
      this.items.delete(oldest);
    }
    return item;
  }
}

function detail(task, withChannel) {
  if (task.error) return withChannel ? `${task.channel} · ${worded(task.error)}` : worded(task.error);
  const { first_frame: firstFrame } = task.timings_s;
  const parts = withChannel ? [task.channel] : [];
  parts.push(task.duration_s === null ? t("still_arriving") : t("seconds", { seconds: task.duration_s.toFixed(1) }));
  if (task.state === "inferring" && task.frames.total) {
    parts.push(t("frames_of", { done: task.frames.generated, total: task.frames.total }));
  }
  if (firstFrame !== undefined) parts.push(t("on_stream_after", { seconds: firstFrame.toFixed(1) }));
  parts.push(new Date(task.created_at).toLocaleTimeString());
  return parts.join(" · ");
}

// The list of tasks, kept up to date by the server's events.

const MOST = 30;
const FINAL = new Set(["done", "failed", "cancelled"]);

export class TaskList {
  constructor(oncancel) {
    this.oncancel = oncancel;
    this.list = document.getElementById("tasks");
    this.template = document.getElementById("task");
    this.items = new Map();
  }

  show(task) {
    document.getElementById("none").hidden = true;
    const item = this.items.get(task.task_id) ?? this.#add(task);
    item.className = `task ${task.state}`;
    item.querySelector(".state").textContent = task.state;
    const name = item.querySelector(".what");
    name.textContent = name.title = task.file_name ?? (task.source === "text" ? "text" : "speech");
    const progress = item.querySelector("progress");
    if (task.progress === null) progress.removeAttribute("value");  // shown as going on without an end
    else progress.value = task.progress;
    item.querySelector(".detail").textContent = detail(task);
    item.querySelector(".cancel").hidden = FINAL.has(task.state);
  }

  #add(task) {
    const item = this.template.content.firstElementChild.cloneNode(true);
    item.dataset.task = task.task_id;
    item.querySelector(".cancel").addEventListener("click", () => this.oncancel(task.task_id));
    this.list.prepend(item);
    this.items.set(task.task_id, item);
    if (this.items.size > MOST) {
      const [oldest, element] = this.items.entries().next().value;
      element.remove();
      this.items.delete(oldest);
    }
    return item;
  }
}

function detail(task) {
  if (task.error) return task.error.message;
  const { first_frame: firstFrame } = task.timings_s;
  const parts = [task.duration_s === null ? "still arriving" : `${task.duration_s.toFixed(1)} s`];
  if (task.state === "inferring" && task.frames.total) parts.push(`${task.frames.generated} of ${task.frames.total} frames`);
  if (firstFrame !== undefined) parts.push(`on the stream after ${firstFrame.toFixed(1)} s`);
  parts.push(new Date(task.created_at).toLocaleTimeString());
  return parts.join(" · ");
}

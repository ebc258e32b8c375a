// The view of all channels' tasks.

import { ask, may } from "./api.js";
import { tell } from "./dom.js";
import { Events } from "./events.js";
import { TaskList } from "./tasks.js";

const MOST = 100;

export class AllTasks {
  constructor(session) {
    this.message = document.getElementById("tasks-message");
    const oncancel = may(session.scope, "speak") ? (taskId) => this.#cancel(taskId) : null;
    this.tasks = new TaskList(document.getElementById("all-tasks"), document.getElementById("no-tasks"), { oncancel, most: MOST, withChannel: true });
    this.events = new Events({ task: (task) => this.tasks.show(task) });
  }

  async show() {
    try {
      const { tasks } = await ask(`/v1/tasks?limit=${MOST}`);
      for (const task of tasks.reverse()) this.tasks.show(task);
    } catch (error) {
      tell(this.message, error.message);
    }
    this.events.listen();
  }

  hide() {
    this.events.end();
  }

  async #cancel(taskId) {
    try {
      await ask(`/v1/tasks/${encodeURIComponent(taskId)}`, "DELETE");
      tell(this.message, null);
    } catch (error) {
      tell(this.message, error.message);
    }
  }
}

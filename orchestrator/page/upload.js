// The form that uploads an avatar's video, with progress: fetch tells none of what it sends.

import { tell } from "./dom.js";
import { t } from "./i18n.js";
import { letIn } from "./key.js";
import { reasonOf } from "./problem.js";

const OPTIONAL = ["max_height", "loop", "face"];

export class AvatarUpload {
  constructor() {
    this.form = document.getElementById("upload");
    this.video = document.getElementById("video-file");
    this.drop = document.getElementById("video-drop");
    this.message = this.form.querySelector(".message");
    this.bar = this.form.querySelector(".sending");
    this.request = null;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.video.addEventListener("change", () => this.#chosen());
    this.bar.querySelector("button").addEventListener("click", () => this.request?.abort());
    this.#takeDrops();
  }

  #takeDrops() {
    for (const kind of ["dragenter", "dragover"]) this.drop.addEventListener(kind, () => this.drop.classList.add("over"));
    for (const kind of ["dragleave", "drop"]) this.drop.addEventListener(kind, () => this.drop.classList.remove("over"));
    this.drop.addEventListener("drop", (event) => {
      event.preventDefault();
      if (!event.dataTransfer.files.length) return;
      this.video.files = event.dataTransfer.files;
      this.#chosen();
    });
  }

  // Shows what was chosen, and makes a name of the file's where none was written.
  #chosen() {
    const [file] = this.video.files;
    this.drop.querySelector(".chosen").textContent = file?.name ?? "";
    const name = this.form.elements.name;
    if (file && !name.value) name.value = file.name.replace(/\.[^.]*$/, "").toLowerCase().replace(/[^a-z0-9_-]+/g, "-").replace(/^[-_]+|-+$/g, "").slice(0, 64);
  }

  async #send() {
    const { elements } = this.form;
    const [file] = this.video.files;
    if (!file) {
      tell(this.message, t("choose_video_first"));
      this.video.focus();
      return;
    }
    // The fields before the files, so that the server can refuse them before it has read gigabytes.
    const body = new FormData();
    body.append("name", elements.name.value);
    for (const name of OPTIONAL) if (elements[name].value.trim()) body.append(name, elements[name].value.trim());
    body.append("video", file, file.name);
    if (elements.idle.files.length) body.append("idle", elements.idle.files[0]);
    tell(this.message, null);
    const submit = this.form.querySelector("[type=submit]");
    submit.disabled = true;
    this.bar.hidden = false;
    try {
      const { warning } = await this.#post(body);
      this.form.reset();
      this.#chosen();
      tell(this.message, warning);
    } catch (error) {
      tell(this.message, error.message);
    } finally {
      submit.disabled = false;
      this.bar.hidden = true;
      this.request = null;
    }
  }

  async #post(body) {
    await letIn();  // a session that has ended would be found out only after the whole upload
    const request = this.request = new XMLHttpRequest();
    request.responseType = "json";
    const [progress, text] = [this.bar.querySelector("progress"), this.bar.querySelector(".detail")];
    progress.value = 0;
    request.upload.onprogress = ({ loaded, total }) => {
      progress.value = loaded / total;
      text.textContent = t("uploaded_of", { done: megabytes(loaded), total: megabytes(total) });
    };
    return new Promise((resolve, reject) => {
      request.onload = () => {
        if (request.status === 202) resolve(request.response);
        else reject(new Error(reasonOf(request.response, request.status)));
      };
      request.onerror = () => reject(new Error(t("no_answer")));
      request.onabort = () => reject(new Error(t("upload_stopped")));
      request.open("POST", "/v1/avatars");
      request.send(body);
    });
  }
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

// Sends speech: a chosen or dropped file, or a recording from the microphone.

import { request } from "./key.js";

const LONGEST_RECORDING_S = 120;

export class Speaker {
  // `say(message, fine)` shows a line to the person; null takes it away.
  constructor(say) {
    this.say = say;
    this.recorder = null;
    this.drop = document.getElementById("drop");
    this.button = document.getElementById("record");
    const input = document.getElementById("file");
    input.addEventListener("change", async () => {
      const file = input.files[0];
      input.value = "";  // so that the same file can be sent again
      if (file) await this.send(file, file.name);
    });
    document.getElementById("speak").addEventListener("submit", (event) => event.preventDefault());
    this.#takeDrops();
    this.button.addEventListener("click", () => this.#record());
  }

  async send(blob, name) {
    const form = new FormData();
    for (const [field, id] of [["num_inference_steps", "steps"], ["guidance_scale", "guidance"]]) {
      const value = document.getElementById(id).value.trim();
      if (value) form.append(field, value);
    }
    form.append("audio_file", blob, name);
    this.drop.classList.add("busy");
    this.say(`Sending ${name} …`, true);
    try {
      const response = await request("/v1/tasks", { method: "POST", body: form });
      const answer = await response.json().catch(() => null);
      if (!response.ok) throw new Error(answer?.error?.message ?? `The server answered ${response.status}.`);
      this.say(null);
    } catch (error) {
      this.say(error instanceof TypeError ? "The server does not answer. Is it still running?" : error.message);
    } finally {
      this.drop.classList.remove("busy");
    }
  }

  #takeDrops() {
    for (const kind of ["dragenter", "dragover"]) {
      window.addEventListener(kind, (event) => {
        event.preventDefault();
        this.drop.classList.add("over");
      });
    }
    window.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) this.drop.classList.remove("over");
    });
    window.addEventListener("drop", async (event) => {
      event.preventDefault();
      this.drop.classList.remove("over");
      const file = event.dataTransfer.files[0];
      if (file) await this.send(file, file.name);
    });
  }

  async #record() {
    if (this.recorder) {
      this.recorder.stop();
      return;
    }
    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) {
      this.say("Recording needs https, or the address http://127.0.0.1.");
      return;
    }
    this.button.disabled = true;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      this.#start(stream);
    } catch (error) {
      this.say(error.name === "NotAllowedError" ? "The microphone is not allowed for this page." : "There is no microphone.");
    } finally {
      this.button.disabled = false;
    }
  }

  #start(stream) {
    const type = ["audio/webm;codecs=opus", "audio/mp4"].find((each) => MediaRecorder.isTypeSupported(each));
    const recorder = new MediaRecorder(stream, type ? { mimeType: type } : {});
    const parts = [];
    const began = performance.now();
    const label = this.button.querySelector("span");
    const timer = setInterval(() => {
      const seconds = (performance.now() - began) / 1000;
      label.textContent = `Stop and send · ${seconds.toFixed(0)} s`;
      if (seconds > LONGEST_RECORDING_S) recorder.stop();
    }, 200);
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = async () => {
      clearInterval(timer);
      stream.getTracks().forEach((track) => track.stop());
      this.recorder = null;
      this.button.classList.remove("on");
      label.textContent = "Record";
      const extension = recorder.mimeType.includes("mp4") ? "m4a" : "webm";
      await this.send(new Blob(parts, { type: recorder.mimeType }), `recording.${extension}`);
    };
    recorder.start(250);
    this.recorder = recorder;
    this.button.classList.add("on");
    label.textContent = "Stop and send";
    this.say(null);
  }
}

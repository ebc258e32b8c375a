// Records the microphone, to be sent or discarded.

import { t } from "./i18n.js";

const LONGEST_S = 120;

export class Recorder {
  // `take(file)` is given each recording that is to be sent; `longest_s` is what the server accepts.
  constructor(say, take, longest_s) {
    Object.assign(this, { say, take, longest_s: Math.min(LONGEST_S, longest_s) });
    this.recorder = null;
    this.kept = true;
    this.button = document.getElementById("record");
    this.discard = document.getElementById("discard");
    this.button.addEventListener("click", () => this.#press());
    this.discard.addEventListener("click", () => {
      this.kept = false;
      this.recorder?.stop();
    });
  }

  async #press() {
    if (this.recorder) {
      this.recorder.stop();
      return;
    }
    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) {
      this.say(t("recording_needs_https"));
      return;
    }
    this.button.disabled = true;
    try {
      this.#start(await navigator.mediaDevices.getUserMedia({ audio: true }));
    } catch (error) {
      this.say(t(error.name === "NotAllowedError" ? "mic_not_allowed" : "mic_missing"));
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
      label.textContent = t("stop_and_send_s", { seconds: seconds.toFixed(0) });
      if (seconds > this.longest_s) recorder.stop();
    }, 200);
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = async () => {
      clearInterval(timer);
      stream.getTracks().forEach((track) => track.stop());
      this.recorder = null;
      this.button.classList.remove("on");
      this.discard.hidden = true;
      label.textContent = t("record");
      const extension = recorder.mimeType.includes("mp4") ? "m4a" : "webm";
      if (this.kept) await this.take(new File(parts, `recording.${extension}`, { type: recorder.mimeType }));
    };
    recorder.start(250);
    this.recorder = recorder;
    this.kept = true;
    this.button.classList.add("on");
    this.discard.hidden = false;
    label.textContent = t("stop_and_send");
    this.say(null);
  }
}

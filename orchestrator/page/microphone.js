// The microphone as blocks of s16le, at 48 kHz where a worklet says nothing else.

import { t } from "./i18n.js";

export const RATE_HZ = 48_000;

const REASONS = { NotAllowedError: "mic_not_allowed", NotFoundError: "mic_missing", NotReadableError: "mic_in_use" };

const CAPTURE = { module: "/page/capture.js", name: "capture", options: { sampleRate: RATE_HZ } };

export class Microphone {
  // Opens it; `take(buffer, peak)` is given each block, and `lost` is called where the device ends by itself.
  // Throws an Error with a sentence for the person, and a `reason`: "insecure", or the name of the browser's error.
  static async open(take, worklet = CAPTURE, lost = () => {}) {
    if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
      throw failure("insecure", t("mic_needs_https"));
    }
    let stream;
    try {
      // The avatar's own voice, from the loudspeakers, must not be said again.
      stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, channelCount: 1 } });
    } catch (error) {
      throw failure(error.name, t(REASONS[error.name] ?? "mic_fails", { message: error.message }));
    }
    const context = new AudioContext(worklet.options);
    const microphone = new Microphone(stream, context);
    try {
      await context.audioWorklet.addModule(worklet.module);
      await context.resume();
    } catch (error) {
      microphone.close();
      throw error;
    }
    const capture = new AudioWorkletNode(context, worklet.name);
    capture.port.onmessage = ({ data }) => take(data.buffer, data.peak);
    stream.getAudioTracks()[0].onended = lost;
    context.createMediaStreamSource(stream).connect(capture).connect(context.destination);  // its output is silence
    return microphone;
  }

  constructor(stream, context) {
    Object.assign(this, { stream, context });
  }

  close() {
    this.stream.getTracks().forEach((track) => track.stop());
    this.context.close();
  }
}

function failure(reason, sentence) {
  return Object.assign(new Error(sentence), { reason });
}

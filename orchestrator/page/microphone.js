// The microphone as blocks of s16le at 48 kHz.

export const RATE_HZ = 48_000;

const REASONS = {
  NotAllowedError: "The microphone is not allowed for this page.",
  NotFoundError: "There is no microphone.",
  NotReadableError: "The microphone is used by another program.",
};

export class Microphone {
  // Opens it; `take(buffer, peak)` is given each block. Throws an Error with a sentence for the person.
  static async open(take) {
    if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
      throw new Error("The microphone needs https, or the address http://127.0.0.1.");
    }
    let stream;
    try {
      // The avatar's own voice, from the loudspeakers, must not be said again.
      stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, channelCount: 1 } });
    } catch (error) {
      throw new Error(REASONS[error.name] ?? `The microphone can't be opened: ${error.message}`);
    }
    const context = new AudioContext({ sampleRate: RATE_HZ });
    const microphone = new Microphone(stream, context);
    try {
      await context.audioWorklet.addModule("/page/capture.js");
      await context.resume();
    } catch (error) {
      microphone.close();
      throw error;
    }
    const capture = new AudioWorkletNode(context, "capture");
    capture.port.onmessage = ({ data }) => take(data.buffer, data.peak);
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

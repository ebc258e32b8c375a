// Runs in the audio thread: the microphone's samples as s16le, a block each 10 ms, with the loudest of them.

const BLOCK = 480;  // 10 ms at 48 kHz: a frame's last sample waits for no more than that

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(BLOCK);
    this.filled = 0;
    this.peak = 0;
  }

  process([input]) {
    for (const sample of input[0] ?? []) {
      const value = Math.max(-1, Math.min(1, sample));
      this.peak = Math.max(this.peak, Math.abs(value));
      this.block[this.filled++] = Math.round(value < 0 ? value * 32768 : value * 32767);
      if (this.filled < BLOCK) continue;
      const { buffer } = this.block;
      this.port.postMessage({ buffer, peak: this.peak }, [buffer]);
      this.block = new Int16Array(BLOCK);
      this.filled = this.peak = 0;
    }
    return true;
  }
}

registerProcessor("capture", Capture);

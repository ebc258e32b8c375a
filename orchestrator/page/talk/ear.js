// Runs in the audio thread: the microphone's samples at 16 kHz as s16le, a block each 20 ms, with the loudest of them.
// The browser's rate is what its sound card has; Firefox opens no microphone at another one.

const RATE_HZ = 16_000;
const BLOCK = 320;
const LOBES = 12;             // zero crossings of the filter's kernel on each side
const FINE = 256;             // entries of its table from one to the next
const PASSED = 0.92;          // of what the lower rate can carry, so that the filter has room to fall

// Right half of a sinc under Hann's window; trigonometry for each sample would cost a phone too much.
const KERNEL = Float32Array.from({ length: LOBES * FINE + 2 }, (_, i) => {
  const x = i / FINE;
  if (x >= LOBES) return 0;
  return (x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1) * (0.5 + 0.5 * Math.cos((Math.PI * x) / LOBES));
});

// Band-limited interpolation: each sample is a sum of those around it, weighted by the kernel
// (J. O. Smith, "Digital Audio Resampling", 2002).
class Resampler {
  constructor(fromHz, toHz) {
    this.step = fromHz / toHz;
    this.cutoff = PASSED * Math.min(1, toHz / fromHz);  // as a part of half the input's rate
    this.reach = LOBES / this.cutoff;
    this.heard = new Float32Array(Math.ceil(this.reach));  // silence before the first sample
    this.at = this.heard.length;  // of the next sample, in samples of `heard`
  }

  // Takes samples, and calls back with each one at the new rate.
  push(samples, take) {
    const joined = new Float32Array(this.heard.length + samples.length);
    joined.set(this.heard);
    joined.set(samples, this.heard.length);
    for (; this.at + this.reach < joined.length; this.at += this.step) take(this.#sample(joined));
    const past = Math.max(0, Math.floor(this.at - this.reach));
    this.heard = joined.slice(past);
    this.at -= past;
  }

  #sample(samples) {
    let sum = 0;
    const last = Math.floor(this.at + this.reach);
    for (let i = Math.max(0, Math.ceil(this.at - this.reach)); i <= last; i++) {
      const place = Math.abs(i - this.at) * this.cutoff * FINE;
      const low = Math.floor(place);
      sum += samples[i] * (KERNEL[low] + (place - low) * (KERNEL[low + 1] - KERNEL[low]));
    }
    return sum * this.cutoff;
  }
}

class Ear extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE_HZ);
    this.block = new Int16Array(BLOCK);
    this.filled = 0;
    this.peak = 0;
  }

  process([input]) {
    if (input[0]) this.resampler.push(input[0], (sample) => this.#take(sample));
    return true;
  }

  #take(sample) {
    const value = Math.max(-1, Math.min(1, sample));
    this.peak = Math.max(this.peak, Math.abs(value));
    this.block[this.filled++] = Math.round(value < 0 ? value * 32768 : value * 32767);
    if (this.filled < BLOCK) return;
    const { buffer } = this.block;
    this.port.postMessage({ buffer, peak: this.peak }, [buffer]);
    this.block = new Int16Array(BLOCK);
    this.filled = this.peak = 0;
  }
}

registerProcessor("ear", Ear);

// Numbers that only /metrics has, and those that follow from counters.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const SPAN_MS = 5000;
const LEAST_MS = 1800;  // a count comes each second: from two alone the rate would jump

// The samples of one metric in Prometheus' text format: a list of labels and value.
export function samples(text, name) {
  const found = [];
  for (const line of text.split("\n")) {
    if (!line.startsWith(name)) continue;
    const [, metric, labels = "", value] = SAMPLE.exec(line) ?? [];
    if (metric !== name) continue;
    found.push({ labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, key, text]) => [key, text])), value: Number(value) });
  }
  return found;
}

// How fast a counter grows, over the last seconds; null while it isn't known.
export class Rate {
  constructor() {
    this.seen = [];
  }

  note(count, now) {
    const last = this.seen.at(-1);
    if (last && count < last.count) this.seen = [];  // another process counts from 0
    if (last?.count !== count) this.seen.push({ count, now });
    while (this.seen.length > 2 && now - this.seen[0].now > SPAN_MS) this.seen.shift();
  }

  perSecond(now) {
    const [first, last] = [this.seen[0], this.seen.at(-1)];
    if (!last) return null;
    if (now - last.now > SPAN_MS) return 0;  // it stands
    if (last.now - first.now < LEAST_MS) return null;
    return (1000 * (last.count - first.count)) / (last.now - first.now);
  }
}

// Lets lips and sound meet at the viewer. Chromium brings them together within some seconds, and then leaves up to 30 ms:
// it corrects nothing smaller. So the picture is held back by what its statistics say that the sound is late.

const LOOK_MS = 1000;    // a picture is held back by another 100 ms within a second
const SMALLEST_MS = 5;
const MOST_MS = 400;     // beyond it the two clocks are wrong, and the picture would only be late: the browser decides

export class Lips {
  // `connection` is the viewer's; browsers that lack the statistics or the control are left to themselves.
  constructor(connection) {
    this.connection = connection;
    this.looked = 0;
    this.before = null;
  }

  // Called as often as one likes, with the statistics of the connection.
  look(stats, now) {
    if (now - this.looked < LOOK_MS) return;
    this.looked = now;
    const { audio, video } = inbound(stats);
    const before = this.before;
    this.before = video;
    if (!audio?.estimatedPlayoutTimestamp || !video?.estimatedPlayoutTimestamp || !before) return;
    const frames = video.jitterBufferEmittedCount - before.jitterBufferEmittedCount;
    if (!(frames > 0)) return;
    const receiver = this.connection.getReceivers().find((each) => each.track.kind === "video");
    if (!receiver || !("jitterBufferTarget" in receiver)) return;
    const held = (1000 * (video.jitterBufferTargetDelay - before.jitterBufferTargetDelay)) / frames;
    // The statistics leave out what decoding and drawing take, so what was asked for counts where that is more.
    const target = wanted(Math.max(held, receiver.jitterBufferTarget ?? 0), video.estimatedPlayoutTimestamp - audio.estimatedPlayoutTimestamp);
    if (target !== null) receiver.jitterBufferTarget = target;
  }
}

// How long to hold the picture back, in ms: it is held for `held` now, and is ahead of the sound by `ahead`. Null: as it is.
export function wanted(held, ahead) {
  if (!Number.isFinite(held) || Math.abs(ahead) < SMALLEST_MS) return null;
  if (Math.abs(ahead) > MOST_MS) return 0;
  return Math.round(Math.min(MOST_MS, Math.max(0, held + ahead)));
}

function inbound(stats) {
  const found = {};
  for (const each of stats.values()) if (each.type === "inbound-rtp") found[each.kind] = each;
  return found;
}

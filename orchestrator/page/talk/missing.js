// What this browser lacks for a conversation, as names of texts that say how to get it.

export async function missing() {
  const found = [];
  if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) found.push("missing_https");
  else if (!window.AudioWorkletNode) found.push("missing_worklet");
  else if (await blocked()) found.push("missing_denied");
  if (!window.RTCPeerConnection) found.push("missing_webrtc");
  return found;
}

// The name of the text for an error of the microphone, and its values.
export function reasonOf(error) {
  const known = {
    insecure: "missing_https",
    NotAllowedError: "missing_denied",
    NotFoundError: "missing_microphone",
    NotReadableError: "microphone_busy",
  };
  return known[error.reason] ? [known[error.reason]] : ["microphone_failed", { why: error.message }];
}

async function blocked() {
  try {
    return (await navigator.permissions.query({ name: "microphone" })).state === "denied";
  } catch {
    return false;  // Firefox knows no such permission; it asks when the microphone is opened
  }
}

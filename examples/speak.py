"""Speaks a wav file of 16 bits live, and prints what the server tells: python examples/speak.py speech.wav

LATENTSYNC_URL is the server (default: http://127.0.0.1:11001), LATENTSYNC_KEY an API key where one is needed.
Exits with 0 when all of it was heard, else with 1.
"""

import json
import os
import sys
import wave

from websockets.sync.client import connect


def main(path: str) -> int:
    key = os.environ.get("LATENTSYNC_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = os.environ.get("LATENTSYNC_URL", "http://127.0.0.1:11001").rstrip("/").replace("http", "ws", 1)
    with wave.open(path) as speech, connect(f"{url}/v1/channels/main/speech", additional_headers=headers) as server:
        rate = speech.getframerate()
        server.send(json.dumps({"type": "start", "sample_rate": rate, "channels": speech.getnchannels()}))
        while sound := speech.readframes(rate // 10):  # a microphone would bring 100 ms in that time
            server.send(sound)
        server.send(json.dumps({"type": "end"}))
        for text in server:
            print(text, flush=True)
            event = json.loads(text)
            if event["type"] == "ended" or (event["type"] == "error" and "task_id" not in event):
                return 0 if event.get("reason") == "completed" else 1
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

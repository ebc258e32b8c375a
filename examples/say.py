"""Says the text of standard input while it is written, as a language model would: python examples/say.py < text.txt

LATENTSYNC_URL is the server (default: http://127.0.0.1:11001), LATENTSYNC_KEY an API key where one is needed.
Prints what the server tells, and exits with 0 when all of it was heard, else with 1.
"""

import json
import os
import sys
import threading

from websockets.sync.client import ClientConnection, connect


def send(server: ClientConnection) -> None:
    for line in sys.stdin:
        server.send(json.dumps({"type": "text", "text": line}))
    server.send(json.dumps({"type": "end"}))


def main() -> int:
    key = os.environ.get("LATENTSYNC_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = os.environ.get("LATENTSYNC_URL", "http://127.0.0.1:11001").rstrip("/").replace("http", "ws", 1)
    with connect(f"{url}/v1/channels/main/speech", additional_headers=headers) as server:
        server.send(json.dumps({"type": "start", "format": "text"}))
        threading.Thread(target=send, args=(server,), daemon=True).start()
        for text in server:
            print(text, flush=True)
            event = json.loads(text)
            if event["type"] == "ended" or (event["type"] == "error" and "task_id" not in event):
                return 0 if event.get("reason") == "completed" else 1
    return 1


if __name__ == "__main__":
    sys.exit(main())

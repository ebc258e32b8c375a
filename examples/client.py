"""Sends a speech and follows its task until it has been said: python examples/client.py speech.wav

LATENTSYNC_URL is the server (default: http://127.0.0.1:11001), LATENTSYNC_KEY an API key where one is needed.
Exits with 0 when the speech was played to its end, else with 1.
"""

import json
import os
import sys
from pathlib import Path

import httpx


def main(path: str) -> int:
    key = os.environ.get("LATENTSYNC_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = os.environ.get("LATENTSYNC_URL", "http://127.0.0.1:11001")
    with httpx.Client(base_url=url, headers=headers, timeout=60) as server, Path(path).open("rb") as audio:
        answer = server.post("/v1/tasks", files={"audio_file": audio}, data={"channel": "main"})
        if answer.is_error:
            print(answer.json()["error"]["message"], file=sys.stderr)
            return 1
        task_id = answer.json()["task_id"]
        task = {}
        with server.stream("GET", f"/v1/tasks/{task_id}/events") as events:
            for line in events.iter_lines():  # server-sent events; a comment keeps the connection alive
                if line.startswith("data: "):
                    task = json.loads(line.removeprefix("data: "))
                    print(f"{task['state']:9} {task['progress']:4.0%}", flush=True)
    if task.get("error"):
        print(task["error"]["message"], file=sys.stderr)
    return 0 if task.get("state") == "done" else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        sys.exit(main(sys.argv[1]))
    except (OSError, httpx.TransportError) as error:  # no such file, or no server there
        sys.exit(str(error))

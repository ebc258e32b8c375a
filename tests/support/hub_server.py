"""A hub on a loopback port: the few addresses that huggingface_hub asks for one file, with byte ranges."""

import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote


class Hub:
    """Files by (repository, revision, name). `cut_after` ends the next answer early; `requests` are noted."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.small: set[str] = set()  # kept in git itself, without a sha256
        self.cut_after: int | None = None
        self.requests: list[tuple[str, str, str | None]] = []
        self.sent: dict[tuple[str, str, str], bytes] = {}
        self.url = ""


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serves until the context ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None: ...

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            hub.requests.append(("POST", self.path, None))
            _, _, _, owner, name, _, revision = self.path.split("/")
            asked = (
                json.loads(body)["paths"]
                if body[:1] == b"{"
                else [unquote(body.decode().split("paths=")[1].split("&")[0])]
            )
            answer = []
            for path in asked:
                content = hub.files.get((f"{owner}/{name}", revision, path))
                if content is not None:
                    entry = {
                        "type": "file",
                        "path": path,
                        "size": len(content),
                        "oid": hashlib.sha1(content).hexdigest(),
                    }
                    if path not in hub.small:
                        entry["lfs"] = {
                            "oid": hashlib.sha256(content).hexdigest(),
                            "size": len(content),
                            "pointerSize": 134,
                        }
                    answer.append(entry)
            self._answer(json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def do_HEAD(self) -> None:
            self._file(head=True)

        def do_GET(self) -> None:
            self._file(head=False)

        def _file(self, head: bool) -> None:
            span = self.headers.get("Range")
            hub.requests.append(("HEAD" if head else "GET", self.path, span))
            owner, name, _, revision, path = self.path.lstrip("/").split("/", 4)
            key = (f"{owner}/{name}", revision, unquote(path))
            content = hub.files.get(key)
            if content is None:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            digest = hashlib.sha256(content).hexdigest()
            body = hub.sent.get(key, content)
            headers = {"ETag": f'"{digest}"', "X-Repo-Commit": revision, "Accept-Ranges": "bytes"}
            status = 200
            if span and not head:
                start = int(span.removeprefix("bytes=").split("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body, status = body[start:], 206
            self._answer(body, headers, status, head)

        def _answer(self, body: bytes, headers: dict[str, str], status: int = 200, head: bool = False) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if head:
                return
            if hub.cut_after is not None and self.command == "GET":
                self.wfile.write(body[: hub.cut_after])
                hub.cut_after = None
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

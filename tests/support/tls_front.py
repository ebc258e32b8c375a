"""TLS in front of a plain local port, as a load balancer has it: makes rtmps out of rtmp."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path


def self_signed(folder: Path, name: str = "IP:127.0.0.1") -> tuple[Path, Path]:
    """A certificate for `name` (IP:… or DNS:…) and its key, both in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = folder / "tls.key", folder / "tls.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=front"]
    command += ["-addext", f"subjectAltName={name}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


class TlsFront:
    """Listens with a certificate of its own and passes everything on; use it as a context manager."""

    def __init__(self, folder: Path, inner_port: int, name: str = "IP:127.0.0.1") -> None:
        """`name` is the subject's alternative name in the self-signed `certificate`: IP:… or DNS:…"""
        self.certificate, key = self_signed(folder, name)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._inner_port = inner_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> TlsFront:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            try:
                outer = self._context.wrap_socket(plain, server_side=True)
            except OSError:  # the client refuses the certificate
                plain.close()
                continue
            inner = socket.create_connection(("127.0.0.1", self._inner_port))
            for source, sink in ((outer, inner), (inner, outer)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.close()

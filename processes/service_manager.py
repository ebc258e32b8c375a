"""What systemd is told of this service: that it is ready, that it is alive, that it stops (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

_log = logging.getLogger(__name__)


class ServiceManager:
    """Sends to the socket that systemd names in NOTIFY_SOCKET; without one every call does nothing."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ is an abstract socket, whose name begins with a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = environ.get("WATCHDOG_USEC", "")
        addressed = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(watchdog_us) / 1e6 if watchdog_us.isdigit() and addressed else None
        """Seconds without `alive` after which systemd restarts the service; None where it doesn't watch."""

    def ready(self) -> None:
        """The service answers."""
        self._send("READY=1")

    def alive(self) -> None:
        """The service does its work; to be called at least twice in `watchdog_s`."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is stopping."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)  # systemd that reads nothing must not hold up the event loop
                sender.sendto(message.encode(), self._address)
        except OSError as error:
            _log.warning("systemd can't be told %s: %s", message, error)

"""Network addresses of targets, parsed so strictly that ffmpeg can't read anything else in them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

SCHEMES = ("rtmp", "rtmps", "srt", "udp", "whip", "whips")

_PARTS = re.compile(
    r"(?P<scheme>[a-z]+)://(?:(?P<credentials>[^@/?#]*)@)?(?P<host>[^@/?#]*?)(?::(?P<port>[^:/?#\]]*))?(?P<rest>[/?#].*)?"
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
_LARGEST_PORT = 65_535
# Options of an SRT caller. All others are refused, among them those that would open a port.
_SRT_OPTIONS = (
    "mode streamid srt_streamid passphrase pbkeylen enforced_encryption kmrefreshrate kmpreannounce latency rcvlatency "
    "peerlatency tsbpd tlpktdrop snddropdelay nakreport connect_timeout timeout maxbw inputbw min_inputbw oheadbw mss "
    "ffs ipttl iptos sndbuf rcvbuf send_buffer_size recv_buffer_size lossmaxttl minversion smoother messageapi "
    "transtype linger pkt_size payload_size"
)
_UDP_OPTIONS = "ttl localaddr localport pkt_size buffer_size bitrate burst_bits broadcast connect dscp reuse"
_OPTIONS = {"srt": frozenset(_SRT_OPTIONS.split()), "udp": frozenset(_UDP_OPTIONS.split())}
_EXAMPLES = {"srt": "streamid, passphrase and latency", "udp": "ttl and pkt_size"}
_SECRET_KEYS = ("streamid", "srt_streamid", "passphrase")


@dataclass(frozen=True)
class Address:
    """An address in parts; `host` is in lower case and without brackets, `rest` is all after host and port.

    For rtmp, rtmps, whip and whips `rest` is the path with its query. For srt and udp it is the query. What stands as
    user in a whip address is its bearer token.
    """

    scheme: str
    credentials: str
    host: str
    port: int | None
    rest: str

    @classmethod
    def parse(cls, target: str) -> Address:
        """Raises ValueError with the reason; the message never repeats what may be a key."""
        parts = _PARTS.fullmatch(target)
        if parts is None or parts["scheme"] not in SCHEMES:
            raise ValueError(f"an address must begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
        scheme = parts["scheme"]
        address = cls(scheme, parts["credentials"] or "", _host(parts["host"]), _port(parts["port"]), "")
        rest = parts["rest"] or ""
        if scheme in ("whip", "whips"):
            if not re.match(r"/[^?#]", rest) or "#" in rest:
                raise ValueError(f"{scheme}:// must name the endpoint's path, as in {scheme}://TOKEN@host/whip/name")
        elif scheme in ("rtmp", "rtmps"):
            if not re.match(r"/[^/?#]", rest):
                raise ValueError(f"{scheme}:// must name an application, as in {scheme}://host/application/name")
        else:
            if parts["credentials"] is not None:
                raise ValueError(f"{scheme}:// takes no user and password before the host")
            if address.port is None:
                raise ValueError(f"{scheme}:// must name a port, as in {scheme}://host:9000")
            rest = _query(scheme, rest)
        return cls(scheme, address.credentials, address.host, address.port, rest)

    def __str__(self) -> str:
        credentials = f"{self.credentials}@" if self.credentials else ""
        return f"{self.scheme}://{credentials}{self.authority}{self.rest}"

    @property
    def authority(self) -> str:
        """Host and port, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def application(self) -> str:
        """The first part of an rtmp path; empty for other schemes."""
        return re.split(r"[/?#]", self.rest[1:], maxsplit=1)[0] if self.rest.startswith("/") else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """All parts that may be secret, each in the forms in which ffmpeg may print it."""
        words = [self.credentials, self.credentials.partition(":")[2]]
        if self.rest.startswith("/"):
            after = self.rest.removeprefix(f"/{self.application}")
            path, _, query = after.partition("?")
            words += [after.strip("/"), path.strip("/"), query, *path.split("/")]
            words += [part.partition("=")[2] for part in re.split(r"[&/]", query)]
        elif self.scheme == "srt":
            values = [value for name, value in self.query if name in _SECRET_KEYS]
            words += [*values, *map(unquote, values)]
        return tuple(word for word in words if word)

    @property
    def query(self) -> tuple[tuple[str, str], ...]:
        """The names and values of an srt or udp query, as they were written."""
        pairs = [pair.partition("=") for pair in self.rest.removeprefix("?").split("&")]
        return tuple((name, value) for name, _, value in pairs if name) if self.rest.startswith("?") else ()


def _host(text: str) -> str:
    if not text:
        raise ValueError("the host is missing")
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]")))
        except ValueError:
            raise ValueError("the brackets must hold an IPv6 address, as in rtmp://[2001:db8::1]/app/name") from None
    if not _NAME.fullmatch(text):
        raise ValueError("the host name must consist of a-z, 0-9, '.', '-' and '_'")
    return text.lower()


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= _LARGEST_PORT:
        raise ValueError(f"the port must be a number from 1 to {_LARGEST_PORT}")
    return int(text)


def _query(scheme: str, rest: str) -> str:
    if not rest or rest == "/":
        return ""
    if "#" in rest:
        raise ValueError(f"{scheme}:// must contain no '#': write %23 in a value")
    path, _, text = rest.partition("?")
    if path.strip("/"):
        raise ValueError(f"{scheme}:// takes no path")
    pairs = []
    for pair in filter(None, text.split("&")):
        name, _, value = pair.partition("=")
        if name not in _OPTIONS[scheme]:
            raise ValueError(f"the query of {scheme}:// has an option that is not supported; {_EXAMPLES[scheme]} are")
        if name == "mode" and value != "caller":
            raise ValueError("srt:// must be in mode caller: a listener would open a port of this machine to everybody")
        pairs.append(f"{name}={value}")
    return f"?{'&'.join(pairs)}" if pairs else ""

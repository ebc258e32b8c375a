"""`demo --lan`: what a phone of the same network needs, an address, HTTPS, and a key in a QR code."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

import ifaddr
import segno

from orchestrator.access.certificate import IpAddress, ServerCertificate, ensure_certificate, fingerprint, is_local
from orchestrator.access.keys import KeyFile, KeyFileError, Scope
from orchestrator.settings import Settings

KEY_NAME = "demo-lan"
"""Its key; each start makes another one and forgets the last."""
_ELSEWHERE = ("192.0.2.1", 9)  # no packet is sent; which address would be used is asked for


class NoLan(RuntimeError):
    """This machine can't be reached in a local network; the message says what to do."""


@dataclass(frozen=True)
class Invitation:
    """What a phone must know."""

    address: str
    key: str
    certificate: ServerCertificate

    @property
    def talk_url(self) -> str:
        """The page's address with the key behind #, which browsers keep to themselves: no log and no proxy sees it."""
        return f"{self.address}/talk#key={self.key}"


def on_lan(settings: Settings) -> Settings:
    """The settings for this machine's address in the local network; the certificate's files come with `invite`.

    `http_host` is kept where it is an address that others reach. Raises NoLan.
    """
    address = _address(settings.http_host)
    if not is_local(address):
        raise NoLan(
            f"{address} is no address of a local network, and --lan makes certificates for those alone: choose one "
            "with --host, or use a proxy with TLS (docs/production.md)"
        )
    folder = settings.data_dir / "https"
    return settings.model_copy(
        update={
            "http_host": str(address),
            "https_certificate": folder / "server.crt",
            "https_key": folder / "server.key",
            # A phone reaches no other address of this machine, and would only try them.
            "webrtc_listen_at": settings.webrtc_listen_at or (str(address),),
        }
    )


def invite(settings: Settings) -> Invitation:
    """Makes the certificate where it is missing, and a new key; for settings of `on_lan`.

    Raises KeyFileError and OSError.
    """
    assert settings.https_certificate is not None
    host = ipaddress.ip_address(settings.http_host)
    certificate = ensure_certificate(settings.https_certificate.parent, host)
    keys = KeyFile(settings.keys_path)
    if any(key.name == KEY_NAME for key in keys.all()):
        with contextlib.suppress(KeyFileError):  # `key remove` did it meanwhile
            keys.remove(KEY_NAME)
    name = f"[{host}]" if host.version == 6 else str(host)
    return Invitation(f"https://{name}:{settings.http_port}", keys.add(KEY_NAME, Scope.SPEAK), certificate)


def welcome(invitation: Invitation) -> str:
    """What the terminal shows, with the QR code."""
    authority = _shown(invitation.certificate.authority)
    bearer = f"-H 'Authorization: Bearer {invitation.key}'"
    return "\n".join(
        [
            "",
            f"  The avatar is live:  {invitation.address}/",
            f"  Talk with it:        {invitation.talk_url}",
            "",
            _qr_code(invitation.talk_url),
            "  Scan it with a phone of this network. Its browser warns, since no public CA knows this server: go on,",
            "  or let the phone trust this machine's CA (docs/phone.md). The certificate's SHA-256 fingerprint:",
            f"  {fingerprint(invitation.certificate.chain)}",
            "",
            "  The code holds a key that may speak. It is shown this once, and the next start with --lan replaces it.",
            f"  Let it speak:        curl --cacert {authority} {bearer} -F audio_file=@speech.wav "
            f"{invitation.address}/generate_video",
            "  Ctrl-C stops everything.",
            "",
        ]
    )


def _address(host: str) -> IpAddress:
    try:
        named = ipaddress.ip_address(host)
    except ValueError:
        if host != "localhost":
            raise NoLan(
                f"http_host is {host!r} and must be an IP address for --lan, which its certificate is for"
            ) from None
    else:
        if not named.is_loopback and not named.is_unspecified:
            return named
    return _own_address()


def _own_address() -> IpAddress:
    """The address from which this machine would send, else the only one of a local network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(_ELSEWHERE)
        found = ipaddress.ip_address(probe.getsockname()[0])
        if not found.is_loopback:
            return found
    others = sorted({found for found in _all_addresses() if is_local(found) and not found.is_loopback})
    if len(others) == 1:
        return others[0]
    if others:
        raise NoLan(f"this machine has the addresses {', '.join(map(str, others))}: name one with --host")
    raise NoLan("this machine has no address in a local network: connect it, or name its address with --host")


def _all_addresses() -> list[ipaddress.IPv4Address]:
    addresses = (ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4)
    return [ipaddress.IPv4Address(address) for address in addresses]


def _qr_code(text: str) -> str:
    out = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out=out, compact=True)
    return out.getvalue().rstrip("\n")


def _shown(path: Path) -> Path:
    """Relative to the current folder where it lies in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

"""`demo --lan`: a phone that trusts the CA reaches the server by HTTPS, and only with the key of the QR code."""

import socket
from ipaddress import IPv4Address
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from orchestrator import lan
from orchestrator.access.keys import KeyFile, Scope
from orchestrator.lan import Invitation, NoLan, invite, on_lan, welcome
from orchestrator.settings import Settings
from tests.support.command_line import cli
from tests.support.running_server import free_port, running, settings_in


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    try:
        return on_lan(settings_in(tmp_path))
    except NoLan as none:
        pytest.skip(str(none))


def scanned(text: str) -> str:
    """What a camera reads of the QR code in a terminal's text; half a block is one row of it."""
    lines = [line for line in text.splitlines() if line and set(line) <= set("█▀▄ ")]
    light = [[char in "█▀" for char in line] for line in lines], [[char in "█▄" for char in line] for line in lines]
    rows = [row for pair in zip(*light, strict=True) for row in pair]
    # From several distances, as a person holds a phone: each size misses up to two codes in a hundred.
    pictures = (np.kron(np.array(rows, np.uint8) * 255, np.ones((size, size), np.uint8)) for size in (8, 5, 12, 3))
    return next(filter(None, (cv2.QRCodeDetector().detectAndDecode(picture)[0] for picture in pictures)), "")


async def test_phone_talks_over_verified_tls_with_the_scanned_key_alone(settings: Settings) -> None:
    invitation = invite(settings)
    async with running(settings) as server:
        await server.http.get("/health/live")
        assert (await server.http.get("/v1/tasks")).status_code == 401
        url = scanned(welcome(invitation))
        assert url.startswith(f"{server.http.base_url}/talk#key=lsr_")
        begun = await server.http.post("/v1/session", json={"key": url.partition("#key=")[2]})
        assert (begun.status_code, begun.json()["scope"]) == (200, "speak")
        cookie = begun.headers["Set-Cookie"]
        assert cookie.startswith("__Host-") and "Secure" in cookie
        assert (await server.http.get("/v1/tasks")).status_code == 200
        authority = await server.http.get("/talk/authority.crt")
        assert authority.headers["Content-Type"] == "application/x-x509-ca-cert"
        async with httpx.AsyncClient(base_url=server.http.base_url) as stranger:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await stranger.get("/health/live")


async def test_server_without_a_ca_of_its_own_hands_out_none(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        answer = await server.http.get("/talk/authority.crt")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_authority")


def test_each_start_makes_another_key_and_forgets_only_its_own(settings: Settings) -> None:
    keys = KeyFile(settings.keys_path)
    others = keys.add("studio", Scope.ADMINISTER)
    first, second = invite(settings), invite(settings)
    assert keys.find(first.key) is None
    found = keys.find(second.key)
    assert found is not None and found.scope is Scope.SPEAK
    assert keys.find(others) is not None
    assert first.certificate == second.certificate


def test_lan_listens_where_phones_are_and_nowhere_else(settings: Settings) -> None:
    assert settings.key_required
    assert settings.webrtc_listen_at == (settings.http_host,)
    named = on_lan(settings_in(settings.data_dir, http_host="10.9.8.7", webrtc_listen_at=("10.9.8.6",)))
    assert (named.http_host, named.webrtc_listen_at) == ("10.9.8.7", ("10.9.8.6",))


def test_machine_with_several_addresses_and_no_route_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_route(*_: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", no_route)
    found = [IPv4Address(each) for each in ("127.0.0.1", "192.168.1.5", "8.8.8.8")]
    monkeypatch.setattr(lan, "_all_addresses", lambda: found)
    assert on_lan(settings_in(tmp_path)).http_host == "192.168.1.5"
    found.append(IPv4Address("10.0.0.7"))
    with pytest.raises(NoLan, match=r"10\.0\.0\.7, 192\.168\.1\.5: name one with --host"):
        on_lan(settings_in(tmp_path))
    found[1:] = []
    with pytest.raises(NoLan, match="no address in a local network"):
        on_lan(settings_in(tmp_path))


def test_address_of_version_6_stands_in_brackets(settings: Settings) -> None:
    six = settings.model_copy(update={"http_host": "fd00::5"})
    assert invite(six).talk_url.startswith(f"https://[fd00::5]:{six.http_port}/talk#key=")


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("8.8.8.8", "8.8.8.8 is no address of a local network"),
        ("avatar.example.com", "must be an IP address for --lan"),
    ],
)
def test_demo_says_which_address_it_needs_before_it_prepares_anything(tmp_path: Path, host: str, said: str) -> None:
    answer = cli("demo", "--lan", "--host", host, LATENTSYNC_DATA_DIR=str(tmp_path / "var"))
    assert answer.returncode == 1 and said in answer.stderr and "Traceback" not in answer.stderr
    assert not (tmp_path / "var" / "keys.json").exists()


def test_demo_whose_port_is_taken_leaves_the_key_of_the_other_one(settings: Settings) -> None:
    key = invite(settings).key
    with socket.create_server((settings.http_host, free_port())) as taken:
        port = str(taken.getsockname()[1])
        answer = cli("demo", "--lan", "--port", port, LATENTSYNC_DATA_DIR=str(settings.data_dir))
    assert answer.returncode == 1 and f"can't listen on {settings.http_host}:{port}" in answer.stderr
    assert KeyFile(settings.keys_path).find(key) is not None


async def test_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "server.crt").write_text("no certificate")
    settings = settings_in(tmp_path, https_certificate=tmp_path / "server.crt", https_key=tmp_path / "server.crt")
    with pytest.raises(Exception, match=r"https_certificate=.*server\.crt.* can't be used"):
        async with running(settings):
            pass


def test_certificate_without_its_key_is_no_setting(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="belong together: set both or none"):
        settings_in(tmp_path, https_certificate=tmp_path / "server.crt")


def test_key_stays_behind_the_hash_of_the_address(settings: Settings) -> None:
    invitation: Invitation = invite(settings)
    before, _, fragment = invitation.talk_url.partition("#")
    assert invitation.key in fragment and invitation.key not in before

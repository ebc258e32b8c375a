"""The examples of a reverse proxy pass on everything that the API does, as it is, with TLS and a key."""

import asyncio
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from orchestrator.access.keys import KeyFile, Scope
from tests.support.checkout import ROOT
from tests.support.running_server import RunningServer, free_port, running, settings_in
from tests.support.speech_samples import wav
from tests.support.tls_front import self_signed

NGINX = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/usr/bin")
CADDY = shutil.which("caddy")
SPEECH = wav(41)
LIMIT_BYTES = 2_000_000

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


@dataclass
class Proxied:
    """A server that asks for a key, a client that reaches it through the proxy alone, and the key."""

    server: RunningServer
    https: httpx.AsyncClient
    key: str

    @property
    def bearer(self) -> dict[str, str]:
        """The header that carries the key."""
        return {"Authorization": f"Bearer {self.key}"}


def replaced(text: str, pattern: str, value: str) -> str:
    """The text with the pattern's one place replaced."""
    changed, count = re.subn(pattern, lambda _: value, text)
    assert count == 1, f"{pattern} is there {count} times"
    return changed


def nginx(folder: Path, port: int, inner_port: int, certificate: Path, key: Path) -> list[str]:
    """nginx with the example as one of its sites; only ports and files are the test's."""
    if NGINX is None:
        pytest.skip("no nginx here")
    site = (ROOT / "examples" / "proxy-nginx.conf").read_text()
    site = replaced(site, r"listen 443 ", f"listen 127.0.0.1:{port} ")
    site = replaced(site, r"listen 80;", f"listen 127.0.0.1:{free_port()};")
    site = replaced(site, r"/etc/\S+fullchain\.pem", str(certificate))
    site = replaced(site, r"/etc/\S+privkey\.pem", str(key))
    site = replaced(site, r"127\.0\.0\.1:11001;", f"127.0.0.1:{inner_port};")
    (folder / "site.conf").write_text(site)
    places = "".join(
        f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr warn;\n"
        + ("user root;\n" if os.getuid() == 0 else "")
        + "events {}\n"
        + f"http {{ access_log off; {places} include {folder}/site.conf; }}\n"
    )
    return [NGINX, "-p", f"{folder}/", "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, port: int, inner_port: int, certificate: Path, key: Path) -> list[str]:
    """Caddy with the example; the address, the port and the certificate are the test's."""
    if CADDY is None:
        pytest.skip("no Caddy here")
    text = (ROOT / "examples" / "proxy.Caddyfile").read_text()
    text = replaced(text, r"(?m)^avatar\.example\.com \{", f"https://127.0.0.1:{port} {{\n\ttls {certificate} {key}")
    text = replaced(text, r"127\.0\.0\.1:11001", f"127.0.0.1:{inner_port}")
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
    return [CADDY, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
async def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Proxied]:
    folder = tmp_path_factory.mktemp("proxy")
    settings = settings_in(folder, require_key=True, upload_limit_bytes=LIMIT_BYTES)
    certificate, tls_key = self_signed(folder)
    port = free_port()
    command = request.param(folder, port, settings.http_port, certificate, tls_key)
    key = KeyFile(settings.keys_path).add("ops", Scope.ADMINISTER)
    async with running(settings) as server:
        await server.ready()
        environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        trusted = ssl.create_default_context(cafile=str(certificate))
        try:
            async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=trusted, timeout=30) as https:
                await answering(https, process)
                yield Proxied(server, https, key)
        finally:
            process.kill()  # asked to end, Caddy first waits for connections that are kept open
            process.wait(10)


async def answering(https: httpx.AsyncClient, process: subprocess.Popen[bytes]) -> None:
    """Returns once the proxy listens."""
    while True:
        assert process.poll() is None, "the proxy has ended"
        try:
            await https.get("/health/live")
        except httpx.ConnectError:
            await asyncio.sleep(0.05)
        else:
            return


async def test_without_a_key_nothing_is_taken(proxied: Proxied) -> None:
    answer = await proxied.https.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(1))})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "key_required")


async def test_a_speech_of_1_3_mb_is_taken_and_its_events_come_while_it_is_said(proxied: Proxied) -> None:
    assert len(SPEECH) > 1_300_000
    files = {"audio_file": ("speech.wav", SPEECH)}
    answer = await proxied.https.post("/v1/tasks", files=files, headers=proxied.bearer)
    assert answer.status_code == 200, answer.text
    url = f"/v1/tasks/{answer.json()['task_id']}"
    async with proxied.https.stream("GET", f"{url}/events", headers=proxied.bearer) as events:
        assert events.headers["Content-Type"].startswith("text/event-stream")
        async for line in events.aiter_lines():
            if line.startswith("data: "):
                break
        # The first event came, and the speech isn't over.
        assert (await proxied.https.delete(url, headers=proxied.bearer)).status_code == 200


async def test_the_preview_comes_through_while_it_goes_on(proxied: Proxied) -> None:
    async with proxied.https.stream("GET", "/v1/channels/main/preview.mp4", headers=proxied.bearer) as preview:
        assert preview.headers["Content-Type"].startswith("video/mp4")  # with the codecs, once they are known
        async for block in preview.aiter_bytes():
            assert block[4:8] == b"ftyp"
            break


async def test_what_is_too_large_is_refused_by_the_server_in_json(proxied: Proxied) -> None:
    files = {"audio_file": ("speech.wav", SPEECH + bytes(LIMIT_BYTES))}
    answer = await proxied.https.post("/v1/tasks", files=files, headers=proxied.bearer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "upload_too_large")


async def test_the_page_gets_a_session_that_is_for_https_alone_and_may_send_from_its_own_origin(
    proxied: Proxied,
) -> None:
    own = {"Origin": f"{str(proxied.https.base_url).rstrip('/')}", "Sec-Fetch-Site": "same-origin"}
    answer = await proxied.https.post("/v1/session", headers=own, json={"key": proxied.key})
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-") and "Secure" in cookie


async def test_a_client_cannot_give_itself_another_address(proxied: Proxied, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        await proxied.https.get("/v1/tasks", headers={"X-Forwarded-For": "203.0.113.9"})
    assert "203.0.113.9" not in caplog.text and "127.0.0.1" in caplog.text

"""A local user, or a web page, who reaches Triton's ports can't have it load a model or map memory."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from inference.launcher import TritonOptions, TritonServer
from inference.secret import GRPC_HEADER, HTTP_HEADER, new_secret
from inference.transport import TritonSettings, connect
from tests.support.running_server import free_port
from tests.support.toy_model import WORKING_MODEL, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOREIGN_PAGE = {"Content-Type": "text/plain", "Origin": "http://foreign.example", "Host": "foreign.example"}
SECRET = new_secret()


def payload(marker: Path) -> str:
    """A load request as a web page could send it, with a model whose code writes a file."""
    code = f"open({str(marker)!r}, 'w')\n{WORKING_MODEL}"
    config = {"backend": "python", "output": [{"name": "OUT", "data_type": "TYPE_INT32", "dims": [1]}]}
    return json.dumps(
        {"parameters": {"config": json.dumps(config), "file:1/model.py": base64.b64encode(code.encode()).decode()}}
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["with HTTP", "without HTTP"])
async def protected(
    request: pytest.FixtureRequest, options_for: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TritonServer]:
    repository = write_model(tmp_path_factory.mktemp("models"), WORKING_MODEL)
    http_port = free_port() if request.param == "with HTTP" else None
    server = await TritonServer.start(options_for(repository, http_port=http_port, secret=SECRET, exit_timeout_s=1))
    yield server
    await server.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def stranger(protected: TritonServer) -> AsyncIterator[InferenceServerClient]:
    async with InferenceServerClient(address(protected.options)) as client:
        yield client


def address(options: TritonOptions) -> str:
    return f"{options.host}:{options.grpc_port}"


async def test_web_page_can_not_load_a_model(protected: TritonServer, tmp_path: Path) -> None:
    options = protected.options
    if options.http_port is None:
        assert listening(protected.pid) == {options.grpc_port, options.metrics_port}
        return
    url = f"http://{options.host}:{options.http_port}/v2/repository/models/injected/load"
    async with httpx.AsyncClient() as page:
        answer = await page.post(url, content=payload(tmp_path / "ran"), headers=FOREIGN_PAGE)
        assert answer.status_code == 403 and not (tmp_path / "ran").exists()
        # The same request with the secret runs the code: what refuses it is the secret, and not its form.
        answer = await page.post(url, content=payload(tmp_path / "ran"), headers=FOREIGN_PAGE | {HTTP_HEADER: SECRET})
        assert answer.status_code == 200 and (tmp_path / "ran").exists()


def listening(pid: int) -> set[int]:
    """The TCP ports that a process listens on."""
    links = [path.readlink().name for path in Path(f"/proc/{pid}/fd").iterdir()]
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6") if Path(f"/proc/net/{name}").exists()]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links}


async def test_chunked_request_without_the_secret_does_not_crash_triton(protected: TritonServer) -> None:
    options = protected.options
    if options.http_port is None:
        pytest.skip("Triton listens for no HTTP")
    reader, writer = await asyncio.open_connection(options.host, options.http_port)
    writer.write(b"POST /v2/repository/index HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(b"1\r\nA\r\n" * 700_000 + b"0\r\n\r\n")  # CVE-2025-23311: space on the stack for each chunk
    answer = await reader.readline()
    writer.close()
    assert answer.split()[1:2] == [b"403"] and await protected.is_live(2)


async def test_secret_is_not_on_the_command_line_that_other_users_see(protected: TritonServer) -> None:
    line = Path(f"/proc/{protected.pid}/cmdline").read_bytes()
    assert b"--grpc-restricted-protocol=" in line and SECRET.encode() not in line


async def test_local_user_can_not_load_a_model(stranger: InferenceServerClient, tmp_path: Path) -> None:
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n{WORKING_MODEL}"
    with pytest.raises(InferenceServerException, match=GRPC_HEADER):
        await stranger.load_model("injected", config="{}", files={"file:1/model.py": code.encode()})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.register_system_shared_memory("region", "/anything", 64),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.unload_model("toy"),
        lambda client: client.get_model_config("toy"),
        lambda client: client.get_model_metadata("toy"),
        lambda client: client.get_inference_statistics(),
        lambda client: client.update_trace_settings(settings={"trace_file": "/tmp/anything"}),
        lambda client: client.update_log_settings({"log_verbose_level": 1}),
        lambda client: client.infer("toy", []),
    ],
    ids=["register", "regions", "unload", "config", "metadata", "statistics", "trace", "logging", "inference"],
)
async def test_local_user_without_the_secret_is_refused(stranger: InferenceServerClient, call: Any) -> None:
    with pytest.raises(InferenceServerException, match=GRPC_HEADER):
        await call(stranger)
    assert await stranger.is_server_live(), "health checks need no secret"


async def test_wrong_secret_is_refused(protected: TritonServer) -> None:
    client = connect(TritonSettings(address(protected.options), secret=new_secret()))
    with pytest.raises(InferenceServerException, match=GRPC_HEADER):
        await client.get_model_config("toy")
    await client.close()


async def test_client_with_the_secret_loads_and_configures(protected: TritonServer) -> None:
    client = connect(TritonSettings(address(protected.options), secret=SECRET))
    await client.unload_model("toy")
    await client.load_model("toy")
    assert (await client.get_model_config("toy")).config.name == "toy"
    await client.close()

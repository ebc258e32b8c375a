"""The examples of docs/agents.md that are whole programs, word for word but for the server's address."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.talk_client import talking_server

pytest.importorskip("openai")

_BLOCK = re.compile(r"^## (?P<section>[^\n]+)\n(?:(?!^## ).)*?^```python\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


def first_examples() -> dict[str, str]:
    """The first Python of each section."""
    return {each["section"]: each["code"] for each in _BLOCK.finditer((ROOT / "docs/agents.md").read_text())}


async def run(code: str, url: str, folder: Path) -> str:
    code = code.replace("http://127.0.0.1:11001", url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_they_run_as_they_are_printed(tmp_path: Path) -> None:
    examples = first_examples()
    async with talking_server(tmp_path) as server:
        url = str(server.http.base_url).rstrip("/")
        await run(examples["OpenAI's audio/speech"], url, tmp_path)
        assert (tmp_path / "said.mp3").stat().st_size > 5_000
        said = await run(examples["OpenAI's Realtime"], url, tmp_path)
    assert "response.output_audio.delta\n" in said
    assert said.splitlines()[-1].startswith("Hello!")

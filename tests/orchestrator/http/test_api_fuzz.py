"""Requests drawn from the API's own description: no fault of the server, and answers as they are described."""

import asyncio
from pathlib import Path

import pytest

from tests.support.drawn_cases import ask_everything
from tests.support.running_server import running, settings_in

pytestmark = pytest.mark.timeout(170)


async def test_drawn_requests_get_described_answers_and_no_fault(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        sent, wrong = await asyncio.to_thread(ask_everything, str(server.http.base_url).rstrip("/"))
        assert wrong == []
        assert sent > 100
        assert list(server.orchestrator.files.incoming.iterdir()) == []
        assert list(server.orchestrator.uploads_dir.iterdir()) == []
        assert (await server.http.get("/health/live")).status_code == 200

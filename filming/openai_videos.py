"""The videos API of OpenAI (`/videos`: create, look, content, delete), which other servers have too."""

from __future__ import annotations

import asyncio
import mimetypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from filming.answers import asked, job_of, saved, text_of
from filming.redirects import OutwardRedirects
from filming.service import FilmError, FilmFault, FilmOrder, FilmProgress

_WAITING = ("queued", "in_progress")


@dataclass(frozen=True)
class VideosProvider:
    """Where it is: the address before `/videos`, and what is asked for there. `size` is such as 720x1280."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    size: str | None = None
    seconds: int | None = None
    timeout_s: float = 30.0


class OpenAiVideos:
    """One account of the service."""

    outlives_server = True

    def __init__(self, provider: VideosProvider) -> None:
        headers = {} if provider.key is None else {"Authorization": f"Bearer {provider.key}"}
        self._provider = provider
        # OpenAI answers the content itself; servers like it answer with the address of a store.
        self._client = httpx.AsyncClient(
            base_url=provider.url,
            headers=headers,
            timeout=provider.timeout_s,
            follow_redirects=True,
            event_hooks={"request": [OutwardRedirects(provider.url)]},
        )

    async def begin(self, order: FilmOrder) -> str:
        """POST the picture as `input_reference`; the answer's `id` is the job."""
        provider = self._provider
        fields = {"model": provider.model, "prompt": order.prompt}
        if provider.size is not None:
            fields["size"] = provider.size
        if provider.seconds is not None:
            fields["seconds"] = str(provider.seconds)
        kind = mimetypes.guess_type(order.picture.name)[0] or "application/octet-stream"
        picture = await asyncio.to_thread(order.picture.read_bytes)
        files = {"input_reference": (f"picture{order.picture.suffix.lower()}", picture, kind)}
        return job_of(await asked(self._client, "POST", "videos", data=fields, files=files), "id")

    async def look(self, job: str) -> FilmProgress:
        """GET the job; its `status` and `progress` in per cent."""
        answer = await asked(self._client, "GET", f"videos/{job}")
        status = text_of(answer, "status")
        if status == "completed":
            return FilmProgress(True, 1.0)
        if status in _WAITING:
            return FilmProgress(False, _share(answer.get("progress")))
        raise FilmError(FilmFault.FAILED, f"The service gave the video up ({status}): {_reason(answer)}")

    async def fetch(self, job: str, into: Path, most_bytes: int) -> None:
        """GET the content."""
        await saved(self._client, f"videos/{job}/content", into, most_bytes)

    async def stop(self, job: str) -> None:
        """DELETE the job."""
        await asked(self._client, "DELETE", f"videos/{job}")

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def _share(progress: Any) -> float | None:
    # In this order NaN, which Python reads in JSON, is 0: no answer of ours could hold it.
    return min(max(0, progress), 100) / 100 if isinstance(progress, int | float) else None


def _reason(answer: dict[str, Any]) -> str:
    error = answer.get("error")
    said = error.get("message") or error.get("code") if isinstance(error, dict) else error
    return str(said or "it gives no reason")[:300]

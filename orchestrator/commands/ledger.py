"""`ledger`: how long the newest speeches of a server took to each stage on their way to the first sound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands.terminal import fail

if TYPE_CHECKING:
    from orchestrator.observability.ledger import LedgerEntryJson

_TIMEOUT_S = 30.0


def ledger(
    channel: Annotated[str | None, typer.Option(help="Of this channel alone.")] = None,
    url: Annotated[str, typer.Option(envvar="LATENTSYNC_URL", help="The server.")] = "http://127.0.0.1:11001",
    key: Annotated[str | None, typer.Option(envvar="LATENTSYNC_KEY", help="API key, where one is needed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the server's own answer.")] = False,
) -> None:
    """Print how long the newest speeches took to their first sound, stage by stage, in milliseconds."""
    answer = _asked(url, channel, key)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    if not answer["ledger"]:
        typer.echo("nothing has been said since the server started")
    for entry in answer["ledger"]:
        for line in _lines(entry):
            typer.echo(line)


def _asked(url: str, channel: str | None, key: str | None) -> dict[str, Any]:
    import httpx

    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S) as http:
            answer = http.get("/v1/ledger", params={} if channel is None else {"channel": channel})
        body: dict[str, Any] = answer.json()
        if answer.is_success:
            return body
        fail(body["error"]["message"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        fail(f"{url}: {error}. Is the server running, and is that its address?")


def _lines(entry: LedgerEntryJson) -> Iterator[str]:
    waited = f", of which {entry['waited']} had to wait and are not counted below" if entry["waited"] else ""
    yield f"{entry['channel']}, {entry['kind']}: {entry['speeches']} speeches{waited}"
    if not entry["stages"]:
        return
    yield f"  {'since it was received':24}{'p50':>8}{'p95':>8}{'step p50':>12}{'step p95':>12}{'count':>8}"
    for stage in entry["stages"]:
        total = f"{1000 * stage['p50_s']:8.0f}{1000 * stage['p95_s']:8.0f}"
        step = f"{1000 * stage['step_p50_s']:12.0f}{1000 * stage['step_p95_s']:12.0f}"
        yield f"  {stage['stage'].replace('_', ' '):24}{total}{step}{stage['count']:8}"

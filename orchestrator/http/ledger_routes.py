"""The ledger over HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.http.operations import Answer, operation
from orchestrator.http.parameters import checked
from orchestrator.http.request_models import LedgerQuery
from orchestrator.http.response_models import LedgerJson
from orchestrator.http.task_routes import unknown_channel
from orchestrator.orchestrator import Orchestrator


@operation(
    "How long the newest speeches took to their first sound",
    Answer("For each channel and kind of speech that has been said", LedgerJson),
    *(404, 422),
    query=LedgerQuery,
)
async def show_ledger(request: Request) -> Response:
    """Of all channels, or of one."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    channel = checked(LedgerQuery, request.query_params).channel
    if channel is not None and channel not in orchestrator.channels:
        raise unknown_channel(channel, orchestrator)
    body: LedgerJson = {"ledger": orchestrator.ledger.entries(channel)}
    return JSONResponse(body)

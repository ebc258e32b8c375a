"""Health and metrics."""

from __future__ import annotations

from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.access.keys import Scope
from orchestrator.http.guard import caller_of
from orchestrator.http.operations import Answer, operation
from orchestrator.http.response_models import HealthJson, LiveJson
from orchestrator.orchestrator import Orchestrator


@operation(
    "Does the process answer, and do frames of its running channels go out?",
    Answer("Yes", LiveJson),
    otherwise={503: Answer("A channel has sent no frame for some seconds", LiveJson)},
)
async def live(request: Request) -> Response:
    """200 while the process answers and the frames of its running channels go out, else 503."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    stalled = bool(orchestrator.on_air.stalled)  # which channel is for the log: nobody needs a key here
    body: LiveJson = {"status": "stalled" if stalled else "live"}
    return JSONResponse(body, 503 if stalled else 200)


@operation(
    "Are speeches accepted?",
    Answer("They are", HealthJson),
    otherwise={503: Answer("They are not; the parts say why", HealthJson)},
)
async def ready(request: Request) -> Response:
    """200 when speeches are accepted, 503 otherwise; tells the parts to whoever may see them.

    A channel that is off the air doesn't count: requests must still reach the API that repairs it.
    """
    orchestrator: Orchestrator = request.app.state.orchestrator
    parts = orchestrator.health()
    is_ready = orchestrator.ready
    scope = caller_of(request).scope
    told = parts if scope is not None and scope.allows(Scope.VIEW) else {}  # they name channels and addresses
    body: HealthJson = {
        "status": "ready" if is_ready else "not ready",
        "parts": {name: {"ready": part.ready, "message": part.message} for name, part in told.items()},
    }
    return JSONResponse(body, 200 if is_ready else 503, headers={} if is_ready else {"Retry-After": "2"})


@operation("Metrics", Answer("Prometheus text format", media="text/plain"))
async def metrics(request: Request) -> Response:
    """The metrics in the format that the client asks for."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(orchestrator.metrics.registry), headers={"Content-Type": content_type})

"""The Starlette application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from orchestrator.access.keys import Scope
from orchestrator.http import (
    avatar_motion_routes,
    avatar_routes,
    channel_routes,
    chat,
    conversation_routes,
    conversation_socket,
    event_routes,
    film_routes,
    health_routes,
    ledger_routes,
    link_routes,
    motion_routes,
    openapi,
    page_routes,
    say,
    session_routes,
    speech_body,
    speech_socket,
    target_routes,
    task_routes,
    watch_key_routes,
    whep_routes,
)
from orchestrator.http.agents import routes as agents
from orchestrator.http.agents.lite.register import LiteSessions
from orchestrator.http.errors import EXCEPTION_HANDLERS
from orchestrator.http.guard import guarded, guarded_live, guarded_socket, guarded_upload
from orchestrator.http.key_watch import KeyWatch
from orchestrator.http.middleware import RequestMiddleware
from orchestrator.http.unknown_path import unknown_path
from orchestrator.orchestrator import Orchestrator

Endpoint = Callable[[Request], Awaitable[Response]]


def _open(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
    """Without a key: what reveals nothing about tasks, channels and avatars."""
    return Route(path, guarded(endpoint, None), methods=[method])


def _view(path: str, endpoint: Endpoint) -> Route:
    return Route(path, guarded(endpoint, Scope.VIEW))


def _watch(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
    """The stream alone; what a viewer changes is its own session."""
    return Route(path, guarded(endpoint, Scope.WATCH), methods=[method])


def _speak(path: str, endpoint: Endpoint, method: str) -> Route:
    return Route(path, guarded(endpoint, Scope.SPEAK), methods=[method])


def _administer(path: str, endpoint: Endpoint, method: str) -> Route:
    return Route(path, guarded(endpoint, Scope.ADMINISTER), methods=[method])


def _live(path: str, method: str) -> Route:
    endpoint = guarded_live(speech_body.speak_body, Scope.SPEAK)
    return Route(path, endpoint, methods=[method], name=f"{method.lower()}_speech")


ROUTES = [
    Route("/generate_video", guarded_upload(task_routes.submit, Scope.SPEAK), methods=["POST"], name="generate_video"),
    Route("/v1/tasks", guarded_upload(task_routes.submit, Scope.SPEAK), methods=["POST"]),
    _view("/v1/tasks", task_routes.list_tasks),
    _view("/v1/tasks/{task_id}", task_routes.show_task),
    _speak("/v1/tasks/{task_id}", task_routes.cancel_task, "DELETE"),
    _view("/v1/tasks/{task_id}/events", event_routes.task_events),
    _view("/v1/events", event_routes.all_events),
    _view("/v1/ledger", ledger_routes.show_ledger),
    _view("/v1/channels", channel_routes.list_channels),
    _administer("/v1/channels", channel_routes.create_channel, "POST"),
    _view("/v1/channels/{channel_id}", channel_routes.show_channel),
    _administer("/v1/channels/{channel_id}", channel_routes.change_channel, "PATCH"),
    _administer("/v1/channels/{channel_id}", channel_routes.remove_channel, "DELETE"),
    _speak("/v1/channels/{channel_id}/interrupt", channel_routes.interrupt, "POST"),
    _speak("/v1/channels/{channel_id}/motions", motion_routes.play, "POST"),
    _speak("/v1/channels/{channel_id}/motions", motion_routes.stop, "DELETE"),
    WebSocketRoute("/v1/channels/{channel_id}/speech", guarded_socket(speech_socket.speak, Scope.SPEAK)),
    WebSocketRoute("/v1/channels/{channel_id}/conversation", guarded_socket(conversation_socket.converse, Scope.SPEAK)),
    # Not for viewers: what somebody said to the avatar is no part of the stream.
    _speak("/v1/channels/{channel_id}/conversation", conversation_routes.show_conversation, "GET"),
    _speak("/v1/channels/{channel_id}/conversation", conversation_routes.forget_conversation, "DELETE"),
    _speak("/v1/channels/{channel_id}/chat", chat.chat, "POST"),
    _live("/v1/channels/{channel_id}/speech", "PUT"),
    _live("/v1/channels/{channel_id}/speech", "POST"),
    Route("/v1/channels/{channel_id}/say", guarded_live(say.say, Scope.SPEAK), methods=["POST"]),
    _administer("/v1/channels/{channel_id}/keys", watch_key_routes.list_keys, "GET"),
    _administer("/v1/channels/{channel_id}/keys", watch_key_routes.add, "POST"),
    _administer("/v1/channels/{channel_id}/keys/{name}", watch_key_routes.remove, "DELETE"),
    _administer("/v1/channels/{channel_id}/targets", target_routes.add_target, "POST"),
    _administer("/v1/channels/{channel_id}/targets/{number}", target_routes.remove_target, "DELETE"),
    _view("/v1/channels/{channel_id}/qr.svg", link_routes.channel_qr),
    _watch("/v1/channels/{channel_id}/preview.mp4", channel_routes.preview),
    _open("/v1/channels/{channel_id}/whep", whep_routes.whep_options, "OPTIONS"),
    _watch("/v1/channels/{channel_id}/whep", whep_routes.whep_begin, "POST"),
    _open("/v1/channels/{channel_id}/whep/{session_id}", whep_routes.whep_session_options, "OPTIONS"),
    _watch("/v1/channels/{channel_id}/whep/{session_id}", whep_routes.whep_trickle, "PATCH"),
    _watch("/v1/channels/{channel_id}/whep/{session_id}", whep_routes.whep_end, "DELETE"),
    _view("/v1/avatars", avatar_routes.list_avatars),
    Route("/v1/avatars", guarded_upload(avatar_routes.add_avatar, Scope.ADMINISTER), methods=["POST"]),
    _administer("/v1/avatars/{name}", avatar_routes.rename, "PATCH"),
    _administer("/v1/avatars/{name}", avatar_routes.remove, "DELETE"),
    Route("/v1/avatars/films", guarded_upload(film_routes.order_film, Scope.ADMINISTER), methods=["POST"]),
    _view("/v1/avatars/{name}/motions", avatar_motion_routes.list_all),
    Route(
        "/v1/avatars/{name}/motions",
        guarded_upload(avatar_motion_routes.add, Scope.ADMINISTER),
        methods=["POST"],
        name="add_motion",
    ),
    _administer("/v1/avatars/{name}/motions/{motion}", avatar_motion_routes.rename, "PATCH"),
    _administer("/v1/avatars/{name}/motions/{motion}", avatar_motion_routes.remove, "DELETE"),
    _view("/v1/avatars/{name}/motions/{motion}/preview.png", avatar_motion_routes.picture),
    _view("/v1/avatar-tasks", avatar_routes.list_preparations),
    _view("/v1/avatar-tasks/{task_id}", avatar_routes.show_preparation),
    _administer("/v1/avatar-tasks/{task_id}", avatar_routes.cancel_preparation, "DELETE"),
    _view("/v1/avatars/{name}/preview.png", avatar_routes.avatar_picture),
    _view("/v1/avatars/{name}/overlay.png", avatar_routes.avatar_overlay),
    _open("/v1/session", session_routes.show),
    _open("/v1/session", session_routes.begin, "POST"),
    _open("/v1/session", session_routes.end, "DELETE"),
    _view("/metrics", health_routes.metrics),
    _open("/openapi.json", openapi.document),
    # Health probes decide whether the process is restarted, so they are never refused.
    Route("/health/live", health_routes.live),
    Route("/health/ready", health_routes.ready),
    *agents.ROUTES,
    *page_routes.ROUTES,
]


def create_app(orchestrator: Orchestrator) -> Starlette:
    """The application of one orchestrator, which must run for as long as requests are answered."""
    # Without keys, the Host header is checked against DNS rebinding by pages of other sites.
    hosts = None if orchestrator.gate.required else {"localhost", *orchestrator.settings.allowed_hosts}
    app = Starlette(
        routes=ROUTES,
        middleware=[
            Middleware(RequestMiddleware, metrics=orchestrator.metrics, hosts=hosts, traces=orchestrator.traces),
            *([Middleware(KeyWatch, orchestrator=orchestrator)] if orchestrator.gate.required else []),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
    )
    app.state.orchestrator = orchestrator
    app.state.lite_sessions = LiteSessions()
    app.router.default = unknown_path
    return app

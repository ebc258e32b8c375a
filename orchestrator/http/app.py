"""The Starlette application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from orchestrator.http import (
    avatar_routes,
    channel_routes,
    event_routes,
    health_routes,
    openapi,
    page_routes,
    task_routes,
)
from orchestrator.http.errors import EXCEPTION_HANDLERS
from orchestrator.http.middleware import RequestMiddleware
from orchestrator.service import Service

ROUTES = [
    Route("/generate_video", task_routes.submit, methods=["POST"]),
    Route("/v1/tasks", task_routes.submit, methods=["POST"]),
    Route("/v1/tasks", task_routes.list_tasks, methods=["GET"]),
    Route("/v1/tasks/{task_id}", task_routes.show_task, methods=["GET"]),
    Route("/v1/tasks/{task_id}", task_routes.cancel_task, methods=["DELETE"]),
    Route("/v1/tasks/{task_id}/events", event_routes.task_events),
    Route("/v1/events", event_routes.all_events),
    Route("/v1/channels", channel_routes.list_channels),
    Route("/v1/channels", channel_routes.create_channel, methods=["POST"]),
    Route("/v1/channels/{channel_id}", channel_routes.show_channel),
    Route("/v1/channels/{channel_id}", channel_routes.change_channel, methods=["PATCH"]),
    Route("/v1/channels/{channel_id}", channel_routes.remove_channel, methods=["DELETE"]),
    Route("/v1/channels/{channel_id}/interrupt", channel_routes.interrupt, methods=["POST"]),
    Route("/v1/channels/{channel_id}/preview.mp4", channel_routes.preview),
    Route("/v1/avatars", avatar_routes.list_avatars, methods=["GET"]),
    Route("/v1/avatars", avatar_routes.add_avatar, methods=["POST"]),
    Route("/v1/avatars/{name}", avatar_routes.rename, methods=["PATCH"]),
    Route("/v1/avatars/{name}", avatar_routes.remove, methods=["DELETE"]),
    Route("/v1/avatar-tasks", avatar_routes.list_preparations),
    Route("/v1/avatar-tasks/{task_id}", avatar_routes.show_preparation, methods=["GET"]),
    Route("/v1/avatar-tasks/{task_id}", avatar_routes.cancel_preparation, methods=["DELETE"]),
    Route("/v1/avatars/{name}/preview.png", avatar_routes.avatar_picture),
    Route("/health/live", health_routes.live),
    Route("/health/ready", health_routes.ready),
    Route("/metrics", health_routes.metrics),
    Route("/openapi.json", openapi.document),
    *page_routes.ROUTES,
]


def create_app(service: Service) -> Starlette:
    """The application of one service, which runs for as long as the application's lifespan."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = Starlette(
        routes=ROUTES,
        middleware=[Middleware(RequestMiddleware, metrics=service.metrics)],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    app.state.service = service
    return app

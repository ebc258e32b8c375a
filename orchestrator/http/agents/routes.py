"""The routes of all doors for voice agents."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from orchestrator.access.keys import Scope
from orchestrator.http.agents.audio_speech import audio_speech
from orchestrator.http.agents.livekit.sessions import join_room
from orchestrator.http.guard import guarded, guarded_live

ROUTES: list[BaseRoute] = [
    Route("/v1/audio/speech", guarded_live(audio_speech, Scope.SPEAK), methods=["POST"]),
    Route(
        "/v1/channels/{channel_id}/audio/speech",
        guarded_live(audio_speech, Scope.SPEAK),
        methods=["POST"],
        name="channel_audio_speech",
    ),
    # Earlier versions of the plugin call /v1/session, which is the page's here: their base URL ends in /agents.
    Route("/v1/sessions", guarded(join_room, Scope.ADMINISTER), methods=["POST"]),
    Route("/agents/v1/session", guarded(join_room, Scope.ADMINISTER), methods=["POST"], name="join_room_earlier"),
]

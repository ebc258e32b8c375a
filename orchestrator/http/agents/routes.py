"""The routes of all doors for voice agents."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route, WebSocketRoute

from orchestrator.access.keys import Scope
from orchestrator.http.agents.audio_speech import audio_speech
from orchestrator.http.agents.lite.routes import session_start, session_stop, session_token
from orchestrator.http.agents.lite.socket import lite_socket
from orchestrator.http.agents.livekit.sessions import join_room
from orchestrator.http.agents.livekit.simli import join_room_of_simli, prepare_simli
from orchestrator.http.agents.realtime.socket import realtime
from orchestrator.http.guard import guarded, guarded_live, guarded_socket

ROUTES: list[BaseRoute] = [
    Route("/v1/audio/speech", guarded_live(audio_speech, Scope.SPEAK), methods=["POST"]),
    Route(
        "/v1/channels/{channel_id}/audio/speech",
        guarded_live(audio_speech, Scope.SPEAK),
        methods=["POST"],
        name="channel_audio_speech",
    ),
    WebSocketRoute("/v1/realtime", guarded_socket(realtime, Scope.SPEAK)),
    WebSocketRoute("/v1/channels/{channel_id}/realtime", guarded_socket(realtime, Scope.SPEAK)),
    # Earlier versions of the plugin call /v1/session, which is the page's here: their base URL ends in /agents.
    Route("/v1/sessions", guarded(join_room, Scope.ADMINISTER), methods=["POST"]),
    Route("/agents/v1/session", guarded(join_room, Scope.ADMINISTER), methods=["POST"], name="join_room_earlier"),
    Route("/agents/compose/token", guarded(prepare_simli, Scope.ADMINISTER), methods=["POST"]),
    Route("/v1/sessions/token", guarded(session_token, Scope.ADMINISTER), methods=["POST"]),
    # These are for whoever has the secret that the one before, or Simli's, gives.
    Route("/agents/integrations/livekit/agents", guarded(join_room_of_simli, None), methods=["POST"]),
    Route("/v1/sessions/start", guarded(session_start, None), methods=["POST"]),
    Route("/v1/sessions/stop", guarded(session_stop, None), methods=["POST"]),
    WebSocketRoute("/v1/sessions/{secret}/socket", guarded_socket(lite_socket, None)),
]

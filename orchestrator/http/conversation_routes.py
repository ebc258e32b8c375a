"""What was said in a channel's conversation, over HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.http.channel_routes import find_channel
from orchestrator.http.operations import Answer, operation
from orchestrator.http.response_models import ConversationJson, ForgottenJson
from orchestrator.orchestrator import Orchestrator


@operation("What was said in the conversation", Answer("Its messages, oldest first", ConversationJson), 404)
async def show_conversation(request: Request) -> Response:
    """What was said on the channel, as far as it is remembered."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    channel = find_channel(request).id
    body: ConversationJson = {
        "channel": channel,
        "running": orchestrator.conversations.is_running(channel),
        "messages": [
            {"role": message.role, "text": message.text} for message in orchestrator.conversations.messages(channel)
        ],
    }
    return JSONResponse(body)


@operation("Forget the conversation", Answer("How many messages were forgotten", ForgottenJson), 404)
async def forget_conversation(request: Request) -> Response:
    """Forget what was said on the channel; a conversation that is held begins again."""
    orchestrator: Orchestrator = request.app.state.orchestrator
    body: ForgottenJson = {"forgotten": orchestrator.conversations.reset(find_channel(request).id)}
    return JSONResponse(body)

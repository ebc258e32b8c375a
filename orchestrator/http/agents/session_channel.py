"""The channel of an agent's session: made of an avatar, and there for as long as the session."""

from __future__ import annotations

import secrets
from http import HTTPStatus

from orchestrator.channels.channel import Channel
from orchestrator.channels.lineup import ChannelOfSettings, TooManyChannels
from orchestrator.http.channel_routes import checked_definition
from orchestrator.http.errors import ApiError
from orchestrator.orchestrator import Orchestrator

STOCK_AVATAR = "b9be11b8-89fb-4227-8f86-4a881393cbdb"
"""What bey's plugin names where its user names no avatar: that of the settings is meant."""


async def begin_channel(orchestrator: Orchestrator, avatar: str) -> Channel:
    """A channel with this avatar, within the limit, which a restart doesn't bring back; raises ApiError."""
    settings = orchestrator.settings
    name = f"room-{secrets.token_hex(6)}"
    avatar = settings.avatar if avatar == STOCK_AVATAR else avatar
    values = {**settings.channel_defaults(), "channel": name, "avatar": avatar, "targets": []}
    definition = await checked_definition(values, orchestrator)
    try:
        return await orchestrator.channels.create(definition, saved=False)
    except TooManyChannels as error:
        raise ApiError(HTTPStatus.CONFLICT, "too_many_channels", str(error)) from None


async def end_channel(orchestrator: Orchestrator, channel: Channel) -> None:
    """Remove it, where nobody else has done so."""
    if orchestrator.channels.get(channel.id) is channel:
        try:
            await orchestrator.channels.remove(channel.id)
        except (ChannelOfSettings, KeyError):  # removed by a request meanwhile
            return

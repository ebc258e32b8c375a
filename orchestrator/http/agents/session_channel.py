"""The channel of an agent's session: made of an avatar, and there for as long as the session."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection
from http import HTTPStatus
from pathlib import Path

from orchestrator.channels.channel import Channel
from orchestrator.channels.lineup import ChannelOfSettings, TooManyChannels
from orchestrator.http.channel_routes import checked_definition
from orchestrator.http.errors import ApiError
from orchestrator.orchestrator import Orchestrator

STOCK_AVATAR = "b9be11b8-89fb-4227-8f86-4a881393cbdb"
"""What bey's plugin names where its user names no avatar: that of the settings is meant."""
_PREFIX = "room-"
_MOST_LOGS = 50


async def begin_channel(orchestrator: Orchestrator, avatar: str) -> Channel:
    """A channel with this avatar, within the limit, which a restart doesn't bring back; raises ApiError."""
    settings = orchestrator.settings
    name = f"{_PREFIX}{secrets.token_hex(6)}"
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
        await asyncio.to_thread(_remove_old_logs, orchestrator.settings.log_dir, set(orchestrator.channels))


def _remove_old_logs(folder: Path, running: Collection[str]) -> None:
    """Keep the logs of the last sessions: each has another name, and nothing else would ever delete them."""
    logs = [path for path in folder.glob(f"{_PREFIX}*.log*") if path.name.partition(".")[0] not in running]
    for path in sorted(logs, key=_changed_at)[:-_MOST_LOGS]:
        path.unlink(missing_ok=True)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # the end of another session has just removed it
        return 0.0

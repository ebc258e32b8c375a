"""The parts of conversations that are files of this machine, by the settings; all conversations share them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from conversation.activity.turn_detector import TurnDetector
from conversation.message import Message
from conversation.response.responder import REFUSED, Piece, Responder, ResponseError, Tool
from orchestrator.settings import Settings, SettingsError


@dataclass(frozen=True)
class LocalParts:
    """Those that there are."""

    responder: Responder | None = None
    detector: TurnDetector | None = None


def open_local_parts(settings: Settings) -> LocalParts:
    """Raises SettingsError for a folder or file that isn't what it should be."""
    return LocalParts(_responder(settings), _detector(settings))


def _responder(settings: Settings) -> Responder | None:
    if settings.responder_folder is None:
        if settings.responder == "transformers":
            raise SettingsError("responder_folder: is not set, and the responder transformers needs it")
        return None
    # Imported here, as what follows: only a server that uses it needs it.
    from conversation.response.transformers import LocalModel, TransformersResponder

    try:
        model = LocalModel(
            settings.responder_folder,
            settings.responder_threads,
            settings.responder_device,
            settings.responder_tokens,
            first_s=settings.responder_timeout_s,
        )
    except ValueError as error:
        raise SettingsError(f"responder_folder: {error}") from None
    return TransformersResponder(model)


def _detector(settings: Settings) -> TurnDetector | None:
    if settings.turn_detector is None:
        return None
    from conversation.activity.smart_turn import SmartTurn

    try:
        return SmartTurn(settings.turn_detector)
    except ValueError as error:
        raise SettingsError(f"turn_detector: {error}") from None


class NoResponder:
    """Of a channel that asks for a model of this machine, where there is none."""

    async def answer(self, history: Sequence[Message], tools: Sequence[Tool] = ()) -> AsyncGenerator[Piece, None]:
        """Raises ResponseError."""
        raise ResponseError(REFUSED, "This server has no language model of its own. Tell whoever runs it.")
        yield

    async def run(self) -> None:
        """It needs nothing, and runs until it is cancelled."""
        await asyncio.get_running_loop().create_future()

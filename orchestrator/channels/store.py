"""The channels that were created over the API, on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from orchestrator.channels.definition import ChannelDefinition, DefinitionError
from orchestrator.private_file import write_private

_VERSION = 1


class ChannelStoreError(RuntimeError):
    """The file of channels can't be read; the message says why and what to do."""


class ChannelStore:
    """One JSON file, readable by its owner alone, for it holds stream keys; whole or not at all, also after a crash."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> list[ChannelDefinition]:
        """The channels as they were saved last; raises ChannelStoreError."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content.get("version") != _VERSION:
                raise ChannelStoreError(
                    f"{self._path} has version {content.get('version')}, this server reads {_VERSION}: move it away"
                )
            return [ChannelDefinition.parse(values) for values in content["channels"]]
        except FileNotFoundError:
            return []
        except (DefinitionError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ChannelStoreError(f"{self._path} is damaged ({error}): repair it, or move it away") from error

    def save(self, definitions: Iterable[ChannelDefinition]) -> None:
        """Replaces what was there; on return it is on the disk."""
        content = {"version": _VERSION, "channels": [each.model_dump(mode="json") for each in definitions]}
        write_private(self._path, json.dumps(content, indent=2))

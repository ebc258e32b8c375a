"""The channels that were created over the API, on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from orchestrator.channels.definition import ChannelDefinition, DefinitionError
from orchestrator.private_file import write_private
from orchestrator.set_aside import free_name, set_aside

_VERSION = 1


logger = logging.getLogger(__name__)


class ChannelStoreError(RuntimeError):
    """The file of channels can't be used; the message says why and what to do."""


class ChannelStore:
    """One JSON file, readable by its owner alone, for it holds stream keys; whole or not at all, also after a crash."""

    def __init__(self, path: Path, on_set_aside: Callable[[], None] = lambda: None) -> None:
        """`on_set_aside` is called when something damaged was set aside."""
        self._path = path
        self._on_set_aside = on_set_aside

    def load(self) -> tuple[list[ChannelDefinition], bool]:
        """The channels as they were saved last, and whether these are all of them.

        What can't be read is kept in another file beside this one. Raises ChannelStoreError for a file of another
        version, and for one that can't be opened.
        """
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            version, entries = content["version"], list(content["channels"])
        except FileNotFoundError:
            return [], True
        except OSError as error:
            raise ChannelStoreError(f"{self._path} can't be read: {error.strerror}") from None
        except (KeyError, TypeError, ValueError) as error:
            kept = set_aside(self._path)
            logger.error("%s is damaged (%s): it is kept as %s, and its channels are missing", self._path, error, kept)
            self._on_set_aside()
            return [], False
        if version != _VERSION:
            raise ChannelStoreError(
                f"{self._path} has version {version}, and this server reads version {_VERSION}: move it away"
            )
        return self._parsed(entries)

    def _parsed(self, entries: list[Any]) -> tuple[list[ChannelDefinition], bool]:
        good: list[ChannelDefinition] = []
        bad: list[Any] = []
        for entry in entries:
            try:
                good.append(ChannelDefinition.parse(entry))
            except DefinitionError as error:
                logger.error("%s: a channel can't be used: %s", self._path, error)
                bad.append(entry)
        if bad:
            kept = free_name(self._path)
            write_private(kept, json.dumps({"version": _VERSION, "channels": bad}, indent=2))
            self.save(good)
            logger.error("%s: %d of its channels are missing, and are kept in %s", self._path, len(bad), kept)
            self._on_set_aside()
        return good, not bad

    def save(self, definitions: Iterable[ChannelDefinition]) -> None:
        """Replaces what was there; on return it is on the disk."""
        content = {"version": _VERSION, "channels": [each.model_dump(mode="json") for each in definitions]}
        write_private(self._path, json.dumps(content, indent=2))

"""What the API defined of channels, on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.channels.definition import ChangedTargets, ChannelDefinition, DefinitionError
from orchestrator.private_file import write_private
from orchestrator.set_aside import free_name, set_aside

_VERSION = 1


logger = logging.getLogger(__name__)


class ChannelStoreError(RuntimeError):
    """The file of channels can't be used; the message says why and what to do."""


@dataclass(frozen=True)
class SavedChannels:
    """The channels that the API created, whether these are all of them, and targets for that of the settings."""

    definitions: tuple[ChannelDefinition, ...] = ()
    changed_targets: ChangedTargets | None = None
    complete: bool = True


class ChannelStore:
    """One JSON file, readable by its owner alone, for it holds stream keys; whole or not at all, also after a crash."""

    def __init__(self, path: Path, on_set_aside: Callable[[], None] = lambda: None) -> None:
        """`on_set_aside` is called when something damaged was set aside."""
        self._path = path
        self._on_set_aside = on_set_aside

    def load(self) -> SavedChannels:
        """What was saved last.

        What can't be read is kept in another file beside this one. Raises ChannelStoreError for a file of another
        version, and for one that can't be opened.
        """
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            version, entries, changed = content["version"], list(content["channels"]), content.get("changed_targets")
        except FileNotFoundError:
            return SavedChannels()
        except OSError as error:
            raise ChannelStoreError(f"{self._path} can't be read: {error.strerror}") from None
        except (KeyError, TypeError, ValueError) as error:
            kept = set_aside(self._path)
            logger.error("%s is damaged (%s): it is kept as %s, and its channels are missing", self._path, error, kept)
            self._on_set_aside()
            return SavedChannels(complete=False)
        if version != _VERSION:
            raise ChannelStoreError(
                f"{self._path} has version {version}, and this server reads version {_VERSION}: move it away"
            )
        return self._parsed(entries, changed)

    def _parsed(self, entries: list[Any], changed: Any) -> SavedChannels:
        good: list[ChannelDefinition] = []
        bad: list[Any] = []
        targets: ChangedTargets | None = None
        try:
            targets = None if changed is None else ChangedTargets.parse_saved(changed)
        except DefinitionError as error:
            logger.error("%s: the targets of the settings' channel can't be used: %s", self._path, error)
        for entry in entries:
            try:
                good.append(ChannelDefinition.parse_saved(entry))
            except DefinitionError as error:
                logger.error("%s: a channel can't be used: %s", self._path, error)
                bad.append(entry)
        lost = None if targets is not None else changed
        if bad or lost is not None:
            kept = free_name(self._path)
            write_private(kept, json.dumps({"version": _VERSION, "channels": bad, "changed_targets": lost}, indent=2))
            self.save(good, targets)
            logger.error("%s: what can't be used, with %d channels, is kept in %s", self._path, len(bad), kept)
            self._on_set_aside()
        return SavedChannels(tuple(good), targets, complete=not bad)

    def save(self, definitions: Iterable[ChannelDefinition], changed_targets: ChangedTargets | None) -> None:
        """Replaces what was there; on return it is on the disk."""
        content = {
            "version": _VERSION,
            "channels": [each.model_dump(mode="json") for each in definitions],
            "changed_targets": None if changed_targets is None else changed_targets.model_dump(mode="json"),
        }
        write_private(self._path, json.dumps(content, indent=2))

"""All channels of one server: the one that its settings define, and those that the API creates and removes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

import anyio
import anyio.abc

from orchestrator.background import keep_running
from orchestrator.channels.channel import Channel
from orchestrator.channels.definition import ChangedTargets, ChannelDefinition
from orchestrator.channels.store import ChannelStore
from orchestrator.tasks.board import TaskBoard

logger = logging.getLogger(__name__)


class ChannelExists(RuntimeError):
    """There is a channel of that name."""


class TooManyChannels(RuntimeError):
    """The server has as many channels as it may have."""


class ChannelOfSettings(RuntimeError):
    """The channel is defined by the server's settings: all but its targets changes with them alone."""


class ChannelChanged(RuntimeError):
    """Another request changed the channel meanwhile."""


class Lineup(Mapping[str, Channel]):
    """The channels by name. A change is on the disk before it takes effect; channels run independently."""

    def __init__(
        self,
        configured: ChannelDefinition,
        store: ChannelStore,
        new_channel: Callable[[ChannelDefinition], Channel],
        board: TaskBoard,
        limit: int,
        removed: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`removed` is called with the name of each channel that is there no more."""
        self._configured = configured
        self._store = store
        self._new_channel = new_channel
        self._board = board
        self._limit = limit
        self._removed = removed
        self._definitions: dict[str, ChannelDefinition] = {}
        self._changed_targets: ChangedTargets | None = None
        self._channels: dict[str, Channel] = {configured.channel: new_channel(configured)}
        self._ends: dict[str, anyio.Event] = {}
        self._group: anyio.abc.TaskGroup | None = None
        self._changing = asyncio.Lock()

    def __getitem__(self, name: str) -> Channel:
        return self._channels[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._channels))

    def __len__(self) -> int:
        return len(self._channels)

    def is_configured(self, name: str) -> bool:
        """True for the channel that the settings define."""
        return name == self._configured.channel

    def stays(self, name: str) -> bool:
        """False for a channel that isn't saved, as those of agents' sessions."""
        return self.is_configured(name) or name in self._definitions

    async def open(self, group: anyio.abc.TaskGroup) -> None:
        """Run all channels in `group`, with those that were saved; raises ChannelStoreError.

        Targets that the API gave to the channel of the settings hold while the settings name those that they replaced.
        Tasks whose channel doesn't exist any more are cancelled. Where definitions couldn't be read, such tasks stay
        queued until their channel is created again, or until they are cancelled.
        """
        self._group = group
        saved = await asyncio.to_thread(self._store.load)
        self._use_changed_targets(saved.changed_targets)
        for definition in saved.definitions:
            if self.is_configured(definition.channel):
                logger.warning(
                    "channel %s is defined by the settings now; what was saved is not used", definition.channel
                )
                continue
            self._definitions[definition.channel] = definition
            self._channels[definition.channel] = self._new_channel(definition)
        if saved.complete:
            await self._board.cancel_orphans(set(self._channels))
        for name in self:
            self._run(name)

    async def create(self, definition: ChannelDefinition, saved: bool = True) -> Channel:
        """Add a channel and start it; one that isn't `saved` ends with the server.

        Raises ChannelExists, TooManyChannels.
        """
        async with self._changing:
            name = definition.channel
            if name in self._channels:
                raise ChannelExists(f"There is a channel {name!r}: change it with PATCH, or choose another name.")
            if len(self._channels) >= self._limit:
                raise TooManyChannels(f"There are {len(self._channels)} channels, which is the limit.")
            if saved:
                await self._save({**self._definitions, name: definition}, self._changed_targets)
            self._channels[name] = self._new_channel(definition)
            self._run(name)
            return self._channels[name]

    async def change(self, definition: ChannelDefinition, instead_of: ChannelDefinition | None = None) -> Channel:
        """Give a channel another definition; raises ChannelOfSettings, KeyError, and ChannelError for refused targets.

        Raises ChannelChanged where it was made of `instead_of`, and the channel has another definition by now.
        New targets and another voice alone interrupt nothing; of the channel of the settings only the targets can be
        changed. Any other change restarts the channel's process, and the current speech.
        """
        async with self._changing:
            name = definition.channel
            channel = self._channels[name]
            if instead_of is not None and channel.definition != instead_of:
                raise ChannelChanged(name)
            before = self._definitions, self._changed_targets
            targets_alone = channel.definition.model_copy(update={"targets": definition.targets}) == definition
            if self.is_configured(name):
                if not targets_alone:
                    raise ChannelOfSettings(
                        f"Of channel {name!r} only the targets can be changed here. All else are settings, which are "
                        "read at the start (`latentsync-realtime config` shows them): change them in the settings' "
                        "file or the environment, and restart."
                    )
                await self._save(self._definitions, self._instead_of_settings(definition))
            elif name in self._definitions:
                await self._save({**self._definitions, name: definition}, self._changed_targets)
            if not channel.definition.differs_in_process(definition):
                try:
                    await channel.set_targets(definition)
                except BaseException:  # refused targets must not be used by the next start
                    await self._save(*before)
                    raise
                return channel
            await self._stop(name)
            self._channels[name] = self._new_channel(definition)
            self._run(name)
            return self._channels[name]

    async def remove(self, name: str) -> list[str]:
        """End a channel and forget it; returns the ids of its tasks, which are cancelled.

        Raises ChannelOfSettings, KeyError.
        """
        async with self._changing:
            channel = self._channels[name]
            if self.is_configured(name):
                raise ChannelOfSettings(
                    f"Channel {name!r} is that of the server's settings (channel_id), which is always there. "
                    "Other channels can be removed."
                )
            if name in self._definitions:  # else nothing of it is on the disk, which may be full
                kept = {key: value for key, value in self._definitions.items() if key != name}
                await self._save(kept, self._changed_targets)
            cancelled = [task.id for task in await channel.interrupt(clear_queue=True)]
            await self._stop(name)
            del self._channels[name]
            self._removed(name)
            # Tasks that were accepted after the interruption.
            return [*cancelled, *await self._board.cancel_orphans(set(self._channels))]

    def _instead_of_settings(self, definition: ChannelDefinition) -> ChangedTargets | None:
        """The definition's targets as they are saved; None where they are those of the settings."""
        own = self._configured.targets
        if definition.targets == own:
            return None
        return ChangedTargets(channel=definition.channel, instead_of=own, targets=definition.targets)

    def _use_changed_targets(self, changed: ChangedTargets | None) -> None:
        self._changed_targets = changed
        if changed is None:
            return
        name = self._configured.channel
        if (changed.channel, changed.instead_of) != (name, self._configured.targets):
            logger.warning(
                "channel %s publishes to the targets of the settings, which name others than when the API changed them",
                name,
            )
            return
        logger.info("channel %s publishes to the targets that the API gave it, not to those of the settings", name)
        self._channels[name] = self._new_channel(self._configured.model_copy(update={"targets": changed.targets}))

    async def _save(self, definitions: dict[str, ChannelDefinition], changed: ChangedTargets | None) -> None:
        await asyncio.to_thread(self._store.save, definitions.values(), changed)
        self._definitions, self._changed_targets = definitions, changed

    def _run(self, name: str) -> None:
        assert self._group is not None, "the lineup is not open"
        ended = self._ends[name] = anyio.Event()
        channel = self._channels[name]

        async def run() -> None:
            try:
                await keep_running(f"channel {name}", channel.run)
            finally:
                ended.set()

        self._group.start_soon(run, name=f"channel-{name}")

    async def _stop(self, name: str) -> None:
        self._channels[name].stop()
        await self._ends.pop(name).wait()

"""What a channel does with the motions of its avatar before its process starts, and with those that come later."""

from pathlib import Path

import numpy as np
import pytest

from latentsync.avatar_files import CONDITION_FILE, SETTINGS_FILE
from latentsync.motions import MOTIONS_FOLDER
from orchestrator.channels.definition import ChannelDefinition
from orchestrator.channels.motion_folder import MotionFolder
from orchestrator.channels.motions import Motions, UnknownMotion
from orchestrator.channels.shared_path import SharedPath
from orchestrator.observability.notices import Broadcast
from streaming.handle import ChannelError, PlannedMotion
from tests.support.grey_avatar import add_motion, make_avatar


def motions() -> Motions:
    definition = ChannelDefinition(channel="main", avatar="grey", state_motions={"thinking": "wave"})
    return Motions("main", Broadcast(), lambda: definition)


def test_a_damaged_motion_is_left_out_and_the_others_play(tmp_path: Path) -> None:
    avatar = make_avatar(tmp_path / "grey", 320, 240, 20)
    add_motion(avatar, "wave", 20)
    damaged = add_motion(avatar, "nod", 20).clip
    np.save(damaged.directory / CONDITION_FILE, np.full(damaged.condition.shape, np.nan, np.float16))
    channel = motions()
    assert channel.prepare(avatar) is not None
    assert channel.names == ("wave",)


async def test_an_avatar_without_motions_has_none_to_show(tmp_path: Path) -> None:
    channel = motions()
    assert not channel.prepare(make_avatar(tmp_path / "grey", 320, 240, 20)).has_motions
    with pytest.raises(UnknownMotion, match="channel main has no motion 'wave'; it has none"):
        await channel.play("wave")


def test_states_name_their_motions() -> None:
    definition = ChannelDefinition(channel="main", avatar="grey", state_motions={"thinking": "wave"})
    assert definition.motion_for_state("thinking") == "wave"
    assert definition.motion_for_state("speaking") is None
    assert definition.named_motions == {"wave"}
    changed = definition.model_copy(update={"state_motions": {}})
    assert not definition.differs_in_process(changed), "the stream goes on"


class Player:
    """Where a channel's process stands: notes what it is told, and refuses while `busy`."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.busy = False

    async def add_motion(self, name: str) -> None:
        if self.busy:
            raise ChannelError("another motion of that name is still shown")
        self.told.append(("add", name))

    async def remove_motion(self, name: str, not_before: int = 0) -> None:
        self.told.append(("remove", name))

    async def play_motion(self, *_: object, **__: object) -> PlannedMotion:
        raise AssertionError("no motion is asked for")

    async def stop_motion(self, *_: object, **__: object) -> int | None:
        raise AssertionError("no motion is shown")

    def follow_path(self, changed: object) -> None:
        return None


async def test_a_channel_is_told_of_each_motion_that_comes_goes_or_is_made_anew(tmp_path: Path) -> None:
    avatar = make_avatar(tmp_path / "grey", 320, 240, 20)
    wave = add_motion(avatar, "wave", 20)
    path, player = SharedPath(avatar, {"wave": wave}), Player()
    path.attach(player)
    folder = MotionFolder(avatar, path, "main")
    await folder.look()
    assert player.told == []
    add_motion(avatar, "nod", 20)
    damaged = add_motion(avatar, "bow", 20).clip
    np.save(damaged.directory / CONDITION_FILE, np.full(damaged.condition.shape, np.nan, np.float16))
    await folder.look()
    assert player.told == [("add", "nod")] and list(path.names) == ["nod", "wave"]
    assert (await path.condition([0])).shape[0] == 1
    (avatar.directory / MOTIONS_FOLDER / "wave").rename(avatar.directory / MOTIONS_FOLDER / "hello")
    await folder.look()
    assert player.told[1:] == [("remove", "wave"), ("add", "hello")] and list(path.names) == ["hello", "nod"]
    old = (avatar.directory / MOTIONS_FOLDER / "nod").rename(
        tmp_path / "old"
    )  # kept, so that its inode isn't used again
    add_motion(avatar, "nod", 24)
    player.busy = True
    await folder.look()
    assert old.is_dir() and player.told[3:] == [("remove", "nod")] and list(path.names) == ["hello"]
    player.busy = False
    await folder.look()
    assert player.told[4:] == [("add", "nod")], "tried again once it can be"


async def test_the_first_motion_of_an_avatar_needs_no_restart(tmp_path: Path) -> None:
    avatar = make_avatar(tmp_path / "grey", 320, 240, 20)
    path, player = SharedPath(avatar, {}), Player()
    path.attach(player)
    folder = MotionFolder(avatar, path, "main")
    assert (await path.condition([3]) == avatar.condition[[3]]).all()
    add_motion(avatar, "wave", 20)
    player.busy = True
    await folder.look()
    assert not path.has_motions, "not while the channel speaks"
    player.busy = False
    await folder.look()
    assert player.told == [("add", "wave")] and path.has_motions


async def test_motions_of_another_video_are_for_the_next_start(tmp_path: Path) -> None:
    avatar = make_avatar(tmp_path / "grey", 320, 240, 20)
    path, player = SharedPath(avatar, {"wave": add_motion(avatar, "wave", 20)}), Player()
    path.attach(player)
    folder = MotionFolder(avatar, path, "main")
    settings = avatar.directory / SETTINGS_FILE
    settings.write_text(settings.read_text().replace('"source_sha256": ""', '"source_sha256": "another"'))
    (avatar.directory / MOTIONS_FOLDER / "wave").rename(tmp_path / "gone")
    await folder.look()
    assert player.told == [] and list(path.names) == ["wave"]

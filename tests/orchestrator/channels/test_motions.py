"""What a channel does with the motions of its avatar before its process starts."""

from pathlib import Path

import numpy as np
import pytest

from latentsync.avatar_files import CONDITION_FILE
from orchestrator.channels.definition import ChannelDefinition
from orchestrator.channels.motions import Motions, UnknownMotion
from orchestrator.observability.notices import Broadcast
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


async def test_an_avatar_without_motions_has_no_path(tmp_path: Path) -> None:
    channel = motions()
    assert channel.prepare(make_avatar(tmp_path / "grey", 320, 240, 20)) is None
    with pytest.raises(UnknownMotion, match="channel main has no motion 'wave'; it has none"):
        await channel.play("wave")


def test_states_name_their_motions() -> None:
    definition = ChannelDefinition(channel="main", avatar="grey", state_motions={"thinking": "wave"})
    assert definition.motion_for_state("thinking") == "wave"
    assert definition.motion_for_state("speaking") is None
    assert definition.named_motions == {"wave"}
    changed = definition.model_copy(update={"state_motions": {}})
    assert not definition.differs_in_process(changed), "the stream goes on"

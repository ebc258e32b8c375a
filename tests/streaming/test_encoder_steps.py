"""When an encoder that can't keep up is relieved, and when it gets its work back. In simulated time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from streaming.config import ChannelConfig
from streaming.encoder_steps import StepPolicy, ladder

LOOK_S = 0.2
CONFIG = ChannelConfig("c", "avatar", "socket")
STEPS = ladder(CONFIG, (1080, 1920))


class Encoder:
    """An encoder that takes `speed(step, now)` seconds of stream a second, and a queue before it that never drops."""

    def __init__(self, speed: Callable[[int, float], float], policy: StepPolicy | None = None) -> None:
        self.policy = policy or StepPolicy(STEPS)
        self.speed = speed
        self.now = self.waiting_s = self.taken_s = 0.0
        self.changes: list[tuple[float, int]] = []
        self.longest_wait_s = 0.0
        self.policy.begin(self.now)

    def run(self, until_s: float) -> list[int]:
        """The steps that were taken, the present one last."""
        while self.now < until_s:
            before = self.policy.index
            self.now += LOOK_S
            can = self.speed(before, self.now) * LOOK_S
            taken = min(can, self.waiting_s + LOOK_S)
            self.waiting_s += LOOK_S - taken
            self.taken_s += taken
            self.longest_wait_s = max(self.longest_wait_s, self.waiting_s)
            if self.policy.observe(self.now, self.waiting_s, self.taken_s) is not STEPS[before]:
                self.changes.append((self.now, self.policy.index))
                self.now += 0.3  # the old ffmpeg ends, another one starts
                self.waiting_s += 0.3
                self.policy.begin(self.now)
        return [index for _, index in self.changes]


def test_the_ladder_names_its_steps_from_the_configured_one_to_the_cheapest() -> None:
    names = [step.name for step in STEPS]
    assert names == [
        "as configured", "preset superfast", "preset ultrafast",
        "picture 2/3", "picture 1/2", "12.5 frames/s", "5 frames/s",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "size", "names"),
    [
        ("ultrafast", (1080, 1920), ["as configured", "picture 2/3", "picture 1/2", "12.5 frames/s", "5 frames/s"]),
        ("slow", (320, 240), ["as configured", "preset veryfast", "preset superfast", "preset ultrafast",
                              "picture 2/3", "12.5 frames/s", "5 frames/s"]),
    ],
)  # fmt: skip
def test_the_ladder_has_no_step_that_would_relieve_nothing(
    preset: str, size: tuple[int, int], names: list[str]
) -> None:
    config = ChannelConfig("c", "avatar", "socket", x264_preset=preset)
    assert [step.name for step in ladder(config, size)] == names


def test_an_encoder_that_keeps_up_is_left_alone() -> None:
    assert Encoder(lambda step, now: 1.3).run(3600) == []


def test_a_short_hold_up_that_is_worked_off_changes_nothing() -> None:
    assert Encoder(lambda step, now: 0.0 if 60 < now < 60.7 else 1.5).run(120) == []


def test_the_first_step_that_is_fast_enough_is_kept_and_little_waits() -> None:
    encoder = Encoder(lambda step, now: (0.8, 0.9, 1.4)[min(step, 2)])
    assert encoder.run(20) == [1, 2]
    assert encoder.longest_wait_s < 2
    assert encoder.waiting_s < 0.1


def test_an_encoder_at_half_the_speed_is_relieved_by_two_steps_at_once() -> None:
    assert Encoder(lambda step, now: 0.5 if step < 2 else 2.0).run(20) == [2]


def test_what_is_never_fast_enough_ends_at_the_last_step() -> None:
    assert Encoder(lambda step, now: 0.3).run(60)[-1] == len(STEPS) - 1


def test_steps_are_taken_back_one_by_one_when_there_is_room_again() -> None:
    encoder = Encoder(lambda step, now: 0.8 if now < 10 and step < 2 else 1.5)
    assert encoder.run(200) == [1, 2, 1, 0]
    (_, last_down), *ups = [(index, now) for now, index in encoder.changes][1:]
    assert all(now - before >= 30 for before, now in pairwise([last_down, *(now for _, now in ups)]))


def test_a_step_that_had_to_be_taken_again_soon_is_taken_back_later_each_time() -> None:
    encoder = Encoder(lambda step, now: 0.8 if step < 1 else 1.5)
    encoder.run(3600)
    ups = [now for now, index in encoder.changes if index == 0]
    gaps = [after - before for before, after in pairwise(ups)]
    assert gaps[1] > 1.5 * gaps[0] and gaps[2] > 1.5 * gaps[1], gaps
    assert max(gaps) < 660, "ten minutes at most"
    assert encoder.longest_wait_s < 2, "and no try fills the queue"


def test_patience_is_short_again_after_a_step_up_that_held() -> None:
    encoder = Encoder(lambda step, now: 0.8 if step < 1 and (now < 300 or 3000 < now < 3010) else 1.5)
    encoder.run(3100)
    down = next(now for now, index in encoder.changes if now > 3000 and index == 1)
    up = next(now for now, index in encoder.changes if now > down)
    assert up - down < 40

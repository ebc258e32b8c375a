"""The encoded stream between encoder and targets: tags, one timeline over all runs, and bounded queues."""

from __future__ import annotations

import pytest

from streaming.flv_tags import HEADER, FlvParser, Tag, TagKind
from streaming.timeline import StreamTimeline, TagQueue


def raw(kind: TagKind, time_ms: int, payload: bytes) -> bytes:
    header = bytes([kind]) + len(payload).to_bytes(3, "big") + (time_ms & 0xFFFFFF).to_bytes(3, "big")
    header += bytes([time_ms >> 24, 0, 0, 0])
    return header + payload + (len(header) + len(payload)).to_bytes(4, "big")


def picture(time_ms: int, keyframe: bool = False) -> Tag:
    return parse(raw(TagKind.PICTURE, time_ms, bytes([0x17 if keyframe else 0x27, 1]) + b"nal"))


def sound(time_ms: int) -> Tag:
    return parse(raw(TagKind.SOUND, time_ms, b"\xaf\x01aac"))


def parse(data: bytes) -> Tag:
    (tag,) = FlvParser().feed(HEADER + data)
    return tag


def drained(queue: TagQueue) -> list[int]:
    times = []
    while (tag := queue.take(0)) is not None:
        times.append(tag.time_ms)
    return times


def test_tags_are_found_in_bytes_that_come_one_by_one() -> None:
    data = HEADER + raw(TagKind.SCRIPT, 0, b"meta") + raw(TagKind.PICTURE, 0, b"\x17\x00avcc")
    data += raw(TagKind.SOUND, 5, b"\xaf\x00") + raw(TagKind.PICTURE, 1 << 25, b"\x17\x01x")
    parser = FlvParser()
    tags = [tag for byte in data for tag in parser.feed(bytes([byte]))]
    assert [(t.kind, t.configuration, t.keyframe) for t in tags] == [
        (TagKind.SCRIPT, True, False),
        (TagKind.PICTURE, True, False),
        (TagKind.SOUND, True, False),
        (TagKind.PICTURE, False, True),
    ]
    assert tags[-1].time_ms == 1 << 25, "past 4.6 hours the upper byte of the time counts"
    assert b"".join(tag.data for tag in tags) == data[len(HEADER) :]


def test_the_end_of_one_run_is_not_passed_on() -> None:
    data = raw(TagKind.PICTURE, 40, b"\x17\x02\x00\x00\x00") + raw(TagKind.PICTURE, 80, b"\x27\x01nal")
    assert [tag.time_ms for tag in FlvParser().feed(HEADER + data)] == [80]


def test_what_is_no_flv_is_refused() -> None:
    with pytest.raises(ValueError, match="no FLV"):
        list(FlvParser().feed(b"\x00\x00\x00\x18ftypmp42.."))


def test_times_never_go_back_though_an_encoder_begins_under_the_end_of_another() -> None:
    timeline = StreamTimeline()
    _, queue = timeline.subscribe()
    for tag in (picture(1000, keyframe=True), sound(1000), sound(1023), picture(1040)):
        timeline.receive(tag)
    for tag in (sound(1010), sound(1033), picture(1040, keyframe=True), picture(1080)):
        timeline.receive(tag)
    assert drained(queue) == [1000, 1000, 1023, 1040, 1033, 1080]


def test_a_subscriber_begins_with_the_latest_keyframe_and_the_parameters() -> None:
    timeline = StreamTimeline()
    avcc = parse(raw(TagKind.PICTURE, 1000, b"\x17\x00avcc"))
    for tag in (avcc, picture(1000, True), picture(1040), picture(1080, True), sound(1080), picture(1120)):
        timeline.receive(tag)
    begin, queue = timeline.subscribe()
    assert begin == HEADER + avcc.data
    assert drained(queue) == [1080, 1080, 1120]


def test_who_has_got_the_latest_keyframe_already_begins_with_the_next() -> None:
    timeline = StreamTimeline()
    timeline.receive(picture(1000, True))
    timeline.receive(picture(1040))
    _, queue = timeline.subscribe(after_ms=1040)
    for tag in (picture(1080), sound(1080), picture(1120, True), picture(1160)):
        timeline.receive(tag)
    assert drained(queue) == [1120, 1160]


def test_a_slow_target_loses_whole_groups_and_goes_on_with_a_keyframe() -> None:
    queue = TagQueue()
    for time_ms in range(0, 6000, 40):
        queue.put(picture(time_ms, keyframe=time_ms % 1000 == 0))
        queue.put(sound(time_ms))
    times = drained(queue)
    assert times[0] % 1000 == 0 and times[0] >= 4000
    assert times == sorted(times)
    assert queue.dropped == 300 - len(times)


def test_equal_parameters_of_a_new_run_are_not_sent_again() -> None:
    timeline = StreamTimeline()
    _, queue = timeline.subscribe()
    for time_ms, payload in ((0, b"\x17\x00avcc"), (500, b"\x17\x00avcc"), (900, b"\x17\x00other")):
        timeline.receive(parse(raw(TagKind.PICTURE, time_ms, payload)))
    assert drained(queue) == [0, 900]


def test_the_offset_between_picture_and_sound_is_what_their_times_say() -> None:
    timeline = StreamTimeline()
    for n in range(200):
        timeline.receive(picture(1000 + 40 * n, keyframe=n == 0))
        timeline.receive(sound(1000 + 40 * n - 300))
    assert 0.25 < timeline.av_offset_s < 0.35


def test_a_new_timeline_ends_what_was_subscribed_to_and_begins_low_again() -> None:
    timeline = StreamTimeline()
    _, queue = timeline.subscribe()
    timeline.receive(picture(2_000_000_000, True))
    timeline.begin_epoch()
    timeline.receive(picture(1000, True))
    assert drained(queue) == [2_000_000_000] and queue.ended
    _, again = timeline.subscribe()
    assert drained(again) == [1000] and not again.ended

"""The encoded stream between encoder and targets: FLV tags, one timeline over all runs, and bounded queues."""

from __future__ import annotations

from fractions import Fraction

import pytest

from streaming.flv_tags import HEADER, FlvParser, Tag, TagKind
from streaming.flv_writer import configuration_tags, packet_tag
from streaming.packet import Description, Packet, Track, TrackDescription
from streaming.timeline import StreamTimeline, TagQueue

MS = Fraction(1, 1000)


def raw(kind: TagKind, time_ms: int, payload: bytes) -> bytes:
    header = bytes([kind]) + len(payload).to_bytes(3, "big") + (time_ms & 0xFFFFFF).to_bytes(3, "big")
    header += bytes([time_ms >> 24, 0, 0, 0])
    return header + payload + (len(header) + len(payload)).to_bytes(4, "big")


PARAMETERS = b"\0\0\0\1\x67\x42\xc0\x1e\0\0\0\1\x68\xce"


def description(run: int = 1, parameters: bytes = PARAMETERS) -> Description:
    sound = TrackDescription(Track.AAC, b"\x11\x90", sample_rate_hz=48_000, channels=2)
    return Description(run, (TrackDescription(Track.H264, parameters, 480, 720, frames_per_second=25.0), sound))


def picture(time_ms: int, keyframe: bool = False) -> Packet:
    return Packet(Track.H264, time_ms, MS, keyframe, b"\0\0\0\1nal", 0.0)


def sound(time_ms: int) -> Packet:
    return Packet(Track.AAC, time_ms, MS, True, b"aac", 0.0)


def tag(packet: Packet) -> Tag:
    made = packet_tag(packet)
    assert made is not None
    return made


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


def test_nothing_is_made_of_parameters_that_are_none() -> None:
    with pytest.raises(ValueError, match="no SPS and PPS"):
        configuration_tags(description(parameters=b"\0\0\1\x67\x42\xc0\x1e"))


def test_what_is_no_flv_is_refused() -> None:
    with pytest.raises(ValueError, match="no FLV"):
        list(FlvParser().feed(b"\x00\x00\x00\x18ftypmp42.."))


def test_times_never_go_back_though_an_encoder_begins_under_the_end_of_another() -> None:
    timeline = StreamTimeline()
    _, queue = timeline.subscribe()
    heard: list[Description | Packet] = []
    timeline.listen(heard.append)
    first = [picture(1000, keyframe=True), sound(1000), sound(1023), picture(1040)]
    second = [sound(1010), sound(1033), picture(1040, keyframe=True), picture(1080)]
    for packet in first + second:
        timeline.receive(packet)
    assert drained(queue) == [1000, 1000, 1023, 1040, 1033, 1080]
    assert heard == [*first, second[1], second[3]], "all outputs get the same"


def test_outputs_get_opus_which_flv_does_not_know() -> None:
    timeline = StreamTimeline()
    _, queue = timeline.subscribe()
    heard: list[Description | Packet] = []
    timeline.listen(heard.append)
    opus = Packet(Track.OPUS, 48_000, Fraction(1, 48_000), True, b"opus", 0.0)
    for message in (description(), picture(1000, True), opus):
        timeline.receive(message)
    assert heard[-1] == opus
    assert drained(queue) == [0, 0, 0, 1000]


def test_a_subscriber_begins_with_the_latest_keyframe_and_the_parameters() -> None:
    timeline = StreamTimeline()
    for packet in (picture(1000, True), picture(1040), picture(1080, True), sound(1080), picture(1120)):
        timeline.receive(packet)
    timeline.receive(description())
    begin, queue = timeline.subscribe()
    assert begin == HEADER + b"".join(tag.data for tag in configuration_tags(description()))
    assert drained(queue) == [1080, 1080, 1120]


def test_who_has_got_the_latest_keyframe_already_begins_with_the_next() -> None:
    timeline = StreamTimeline()
    timeline.receive(picture(1000, True))
    timeline.receive(picture(1040))
    _, queue = timeline.subscribe(after_ms=1040)
    for packet in (picture(1080), sound(1080), picture(1120, True), picture(1160)):
        timeline.receive(packet)
    assert drained(queue) == [1120, 1160]


def test_a_slow_target_loses_whole_groups_and_goes_on_with_a_keyframe() -> None:
    queue = TagQueue()
    for time_ms in range(0, 6000, 40):
        queue.put(tag(picture(time_ms, keyframe=time_ms % 1000 == 0)))
        queue.put(tag(sound(time_ms)))
    times = drained(queue)
    assert times[0] % 1000 == 0 and times[0] >= 4000
    assert times == sorted(times)
    assert queue.dropped == 300 - len(times)


def test_equal_parameters_of_a_new_run_are_not_sent_again() -> None:
    timeline = StreamTimeline()
    _, queue = timeline.subscribe()
    for run, parameters in enumerate((PARAMETERS, PARAMETERS, PARAMETERS + b"\x02")):
        timeline.receive(description(run, parameters))
    kinds = [TagKind.SCRIPT, TagKind.PICTURE, TagKind.SOUND]
    assert [tag.kind for tag in iter(lambda: queue.take(0), None)] == [*kinds, TagKind.PICTURE]


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

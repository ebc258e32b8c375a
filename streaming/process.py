"""The channel process: one loop on the frame clock that mixes, composes and publishes.

`python -m streaming.process CONFIG.json` plays idle by itself; `-` takes the configuration from the parent.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from latentsync.avatar import PreparedAvatar
from processes.garbage import freeze_what_is_there
from streaming import pattern
from streaming.audio import SILENCE, AudioMixer
from streaming.clock import FrameClock
from streaming.compositor import Compositor
from streaming.config import FPS, ChannelConfig
from streaming.control import ControlPort, Request
from streaming.events import ChannelEvent, EndReason, MixerEvent, SpeechEncoded, SpeechEnded, SpeechStarted, Status
from streaming.mixer import Mixer, Tick
from streaming.motions import ChannelMotions
from streaming.packet import stream_time_s
from streaming.packet_server import PacketServer
from streaming.pair import Pair
from streaming.preview import PreviewServer
from streaming.publisher import Publisher
from streaming.ring import FrameRing
from streaming.ring_reader import RingReader

_log = logging.getLogger("streaming.process")


class Channel:
    """Everything that one channel process holds; `frame` is one iteration of its loop."""

    def __init__(self, config: ChannelConfig, port: ControlPort | None, ring: FrameRing | None) -> None:
        self._config = config
        self._port = port
        avatar = PreparedAvatar.open(config.avatar_dir)
        self._motions = ChannelMotions(avatar)
        self._compositor = Compositor(avatar, avatar.idle, self._motions)
        size = (self._compositor.width, self._compositor.height)
        fade_frames = config.mouth_fade_frames if self._compositor.idle_is_the_avatar else config.fade_frames
        self._mixer = Mixer(fade_frames, config.linger_frames, self._compositor.period)
        if self._motions.motions:
            self._mixer.keep_to_the_path(self._motions.nearest_equal)
        self._reader = RingReader(ring, self._mixer)
        self._audio = AudioMixer()
        self._sounding = False
        self._publisher = Publisher(config, size)
        self._outputs = contextlib.ExitStack()
        try:
            self._preview = PreviewServer(Path(config.preview_socket), config.fragment_ms)
            self._outputs.callback(self._preview.close)
            self._publisher.listen(self._preview.publish)
            if config.packet_socket is not None:
                packets = PacketServer(Path(config.packet_socket), self._publisher.request_keyframe)
                self._outputs.callback(packets.close)
                self._publisher.listen(packets.publish)
        except BaseException:
            self._publisher.close()
            self._outputs.close()
            raise
        self._events: deque[tuple[int, MixerEvent]] = deque()
        self._clock = FrameClock(time.monotonic, self._wait_answering)

    def frame(self) -> None:
        """Waits for the next frame's time, and publishes it."""
        self._wait_answering(0)  # the clock doesn't wait before a late frame, and requests must be answered
        number = self._clock.wait()
        self._reader.poll()
        tick = self._mixer.tick()
        for event in tick.events:
            self._events.append((number, event))
            if isinstance(event, SpeechStarted):
                time_s = stream_time_s(number, self._config.timeline_frames)
                self._publisher.encoded.expect(event.speech_id, number, time_s)
        self._publish(number, tick)
        self._reader.release(tick)
        self._tell(self._publisher.has_passed)
        self._tell_encoded()
        for motion_event in self._motions.note(number, tick.position):
            self._emit(motion_event)
        if self._port and number % FPS == 0:
            self._port.emit(self._status())

    def close(self) -> None:
        """Ends the stream in order."""
        self._publisher.close()
        self._tell(lambda number: True)
        self._outputs.close()

    def _tell(self, has_passed: Callable[[int], bool]) -> None:
        """Sends events in their order; the end of a speech waits until the encoder has it all, or it was dropped."""
        while self._events:
            number, event = self._events[0]
            if isinstance(event, SpeechEnded):
                if not has_passed(number):
                    return
                event = replace(event, dropped_frames=self._publisher.dropped_of(event.speech_id))
            self._events.popleft()
            if self._port:
                self._port.emit(event)

    def _emit(self, event: ChannelEvent) -> None:
        if self._port:
            self._port.emit(event)

    def _tell_encoded(self) -> None:
        for frame in self._publisher.encoded.take():
            if self._port:
                now = time.monotonic()
                age_s, opus_age_s = (round(now - at, 4) for at in (frame.at, frame.opus_at))
                self._port.emit(SpeechEncoded(frame.speech_id, frame.tick, age_s, opus_age_s))

    def _wait_answering(self, seconds: float) -> None:
        """Waits, and answers requests meanwhile: a reservation must not wait for the next frame."""
        if self._port is None:
            time.sleep(seconds)
            return
        until = time.monotonic() + seconds
        while request := self._port.next_request(until - time.monotonic()):
            self._answer(request)

    def _publish(self, number: int, tick: Tick) -> None:
        sound = self._sound(tick)
        pooled = tick.face is not None or self._config.test_pattern
        if not pooled:
            picture = self._compositor.idle(tick.position, number)
        else:
            picture = self._publisher.pool.take()
            if tick.face is not None:
                face = self._reader.face(tick)
                self._compositor.speaking(tick.position, number, face, tick.opacity, picture)
            else:
                picture[...] = self._compositor.idle(tick.position, number)
            if self._config.test_pattern:
                pattern.stamp(picture, number)
                sound = pattern.sound(sound, number)
        due_s = self._clock.due_s(number)
        self._publisher.submit(Pair(number, picture, sound, pooled, tick.speech, tick.audio, tick.position, due_s))

    def _sound(self, tick: Tick) -> bytes:
        after_silence = not self._sounding
        self._sounding = tick.audio is not None
        if tick.audio is None:
            return self._audio.silence()
        return self._audio.speech(self._reader.samples(tick), after_silence, tick.falls_silent)

    def _answer(self, request: Request) -> None:
        assert self._port is not None
        try:
            self._port.reply(request, **self._perform(request.values))
        except (ValueError, KeyError) as error:
            self._port.reply(request, error=str(error))

    def _perform(self, values: dict[str, Any]) -> dict[str, Any]:
        match values["op"]:
            case "open":
                speech = values["speech"]
                # The first frame after the lead: before it idle would wait for the faces, after it the faces for idle.
                # The clock's lateness is left out: after a stall the whole schedule moves.
                lead_frames = math.ceil((values["lead_s"] + min(0.0, self._clock.lateness_s())) * FPS)
                position = self._mixer.open(speech, values["expected_frames"], lead_frames, values["start_after"])
                self._reader.register(values["number"], speech)
                return {"position": position, "now": self._mixer.position}
            case "end":
                self._reader.poll()  # frames written before this request are in the ring: they count
                self._mixer.end(values["speech"], values["frames"])
            case "cancel":
                return {"heard": self._cancel([values["speech"]])[values["speech"]]}
            case "motion" | "stop_motion":
                return self._change_motion(values)
            case "add_motion" | "remove_motion":
                self._change_motions(values)
            case "interrupt":
                waiting = [event.speech_id for _, event in self._events if isinstance(event, SpeechEnded)]
                return {"heard": self._cancel([*waiting, *self._mixer.speeches])}
            case "targets":
                self._publisher.set_targets(values["targets"])
            case unknown:
                raise ValueError(f"unknown operation {unknown!r}")
        return {}

    def _change_motion(self, values: dict[str, Any]) -> dict[str, Any]:
        change = self._motions.play if values["op"] == "motion" else self._motions.stop
        answer = change(self._mixer.position, values)
        self._emit(self._motions.changed())  # before the reply: who has that knows the path
        return answer

    def _change_motions(self, values: dict[str, Any]) -> None:
        """The avatar has another motion, or one less."""
        if values["op"] == "add_motion":
            if not self._motions.motions and self._mixer.speeches:
                raise ValueError("the first motion of a channel can't come while it speaks: speeches may have moved")
            self._motions.add(self._mixer.position, values)
            self._mixer.keep_to_the_path(self._motions.nearest_equal)
            self._compositor.add(values["name"], self._motions.motions[values["name"]].clip)
            return
        self._motions.remove(self._mixer.position, values)
        self._emit(self._motions.changed())

    def _cancel(self, speeches: list[str]) -> dict[str, int]:
        """Ends speeches early, those that still wait for the encoder included; how many frames of each are heard."""
        self._publisher.encoded.forget(speeches)
        taken = self._publisher.take_back(speeches, self._idle_instead)
        if taken.idle and self._mixer.playing in speeches:
            self._audio.forget()
            self._sounding = False
        heard = {speech: self._mixer.cancel(speech, taken.heard.get(speech), taken.idle) for speech in speeches}
        for place, (number, event) in enumerate(self._events):
            if isinstance(event, SpeechEnded) and event.speech_id in speeches:
                if event.speech_id in taken.heard:
                    played = taken.heard[event.speech_id]
                    event = replace(event, played_frames=played, reason=EndReason.INTERRUPTED)
                    self._events[place] = number, event
                heard[event.speech_id] = event.played_frames
        left = set(self._mixer.speeches) - set(speeches)
        if not left and self._motions.hasten(self._mixer.position):
            self._emit(self._motions.changed())
        return heard

    def _idle_instead(self, tick: int, position: int, fading: Pair | None) -> Pair:
        """An idle pair, or one in which a pair of speech fades half way, and its sound to nothing."""
        picture, sound, pooled = self._compositor.idle(position, tick), SILENCE, False
        if fading is not None or self._config.test_pattern:
            idle, picture, pooled = picture, self._publisher.pool.take(), True
            picture[...] = idle
            if fading is not None:
                cv2.addWeighted(fading.picture, 0.5, idle, 0.5, 0, dst=picture)
                sound = self._audio.speech(np.frombuffer(fading.sound, np.int16), falls_silent=True)
        if self._config.test_pattern:
            pattern.stamp(picture, tick)
            sound = pattern.sound(sound, tick)
        if fading is None:
            return Pair(tick, picture, sound, pooled, position=position, due_s=self._clock.due_s(tick))
        return replace(fading, picture=picture, sound=sound, pooled=pooled)

    def _status(self) -> Status:
        counters, publisher = self._mixer.counters, self._publisher
        return Status(
            state=self._mixer.state,
            position=self._mixer.position,
            frames_sent=publisher.sent,
            late_waits=counters.late_waits,
            late_frames=counters.late_frames,
            # While an idle clip is shown, the avatar's own body is not seen.
            repeated_frames=counters.repeated_frames if self._compositor.idle_is_the_avatar else 0,
            dropped_pairs=publisher.dropped,
            dropped_speech_pairs=publisher.dropped_speech,
            stalls=self._clock.stalls,
            queue_s=publisher.queue_s,
            buffered_frames=self._reader.buffered,
            publisher=publisher.state,
            targets=publisher.targets,
            reconnects=publisher.reconnects,
            encoder_restarts=publisher.restarts,
            encoder_speed=round(publisher.speed, 3),
            encoder_step=publisher.step.name,
            encoder_steps_down=publisher.steps_down,
            av_offset_s=round(publisher.av_offset_s, 4),
            preview_readers=self._preview.readers,
            preview_codecs=self._preview.codecs,
            next_frame_at=self._clock.due_s(self._clock.frame),
            motion=self._motions.playing,
        )


def main(arguments: list[str]) -> int:
    """Runs a channel until its parent ends or a signal arrives; returns the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)
    cv2.setNumThreads(1)  # a face is too small for several threads, and the models need the cores
    if len(arguments) != 1:
        print("usage: python -m streaming.process CONFIG.json | -", file=sys.stderr)
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if arguments[0] != "-":
        return _play(Channel(ChannelConfig.load(Path(arguments[0])), None, None), None, stop)
    # Not sys.stdin: Python closes it at exit, and aborts when a thread is still reading from it.
    port = ControlPort(os.fdopen(sys.stdin.fileno(), "rb", closefd=False), sys.stdout.buffer)
    request = port.wait_request()
    if request is None:
        return 0 if port.problem is None else 1
    ring = FrameRing(request.values["ring_fd"], request.values["slots"], request.values["resolution"])
    os.set_inheritable(ring.fd, False)  # ffmpeg must not keep the ring alive
    try:
        channel = Channel(ChannelConfig.from_json(request.values["config"]), port, ring)
    except (ValueError, OSError) as error:
        port.reply(request, error=str(error))
        port.close()
        return 1
    port.reply(request)
    return _play(channel, port, stop)


def _play(channel: Channel, port: ControlPort | None, stop: threading.Event) -> int:
    freeze_what_is_there()
    try:
        while not (stop.is_set() or (port is not None and port.closed)):
            channel.frame()
    finally:
        channel.close()
        if port is not None:
            port.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

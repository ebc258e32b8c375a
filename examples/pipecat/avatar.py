"""A Pipecat processor that lets an avatar say what a TTS service makes: it stands where that would be played.

    avatar = AvatarProcessor("http://127.0.0.1:11001", channel="main", key=os.environ.get("LATENTSYNC_KEY"))
    Pipeline([transport.input(), stt, context.user(), llm, tts, avatar, transport.output(), context.assistant()])

The sound goes to the avatar and no further: viewers get it with the face, from the channel. Like an output transport it
tells when the bot begins and ends to speak, by what was heard. Its event `on_heard(processor, seconds, reason)` comes
once for each TTS response, whose reason is completed, interrupted, source_lost or failed.
"""

import asyncio
import json
from collections import deque

import aiohttp
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor


class AvatarProcessor(FrameProcessor):
    """Says a TTS response as one segment of a channel's socket for live speech."""

    def __init__(self, url: str, channel: str = "main", key: str | None = None, **options):
        super().__init__(**options)
        self._url = url.rstrip("/")
        self._socket_path = f"/v1/channels/{channel}/speech"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._receiving: asyncio.Task | None = None
        self._rate: int | None = None  # of the open segment
        self._starting: deque[int] = deque()  # rates of the segments that the server hasn't answered yet
        self._unwanted = 0  # so many of these, the oldest, were interrupted before that
        self._running: dict[str, int] = {}  # rates of those that were accepted and aren't over, by their tasks
        self._over = asyncio.Event()
        self._over.set()
        self._speaking = False
        self._register_event_handler("on_heard")

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        """Sound goes to the avatar, all else goes on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            await self._say(frame)
            return
        if isinstance(frame, (TTSStoppedFrame, EndFrame)):
            await self._end_segment()
        if isinstance(frame, (InterruptionFrame, CancelFrame)):
            await self._interrupt()
        if isinstance(frame, EndFrame):
            await self._over.wait()  # as a transport that plays to the end what it has
        await self.push_frame(frame, direction)

    async def cleanup(self):
        """The pipeline is over."""
        await super().cleanup()
        if self._session is not None:
            await self._session.close()
        if self._receiving is not None:
            await self.cancel_task(self._receiving)
            self._receiving = None

    async def _say(self, frame: TTSAudioRawFrame):
        try:
            if self._socket is None or self._socket.closed:
                await self._connect()
            if self._rate != frame.sample_rate:
                await self._end_segment()
                start = {"type": "start", "sample_rate": frame.sample_rate, "channels": frame.num_channels}
                self._rate = frame.sample_rate
                self._starting.append(frame.sample_rate)
                self._over.clear()
                await self._socket.send_json(start)
            await self._socket.send_bytes(frame.audio)
        except (aiohttp.ClientError, OSError) as error:
            await self.push_error(error_msg=f"the avatar can't be reached: {error}", exception=error)

    async def _connect(self):
        if self._receiving is not None:  # the connection was lost; what it said is over
            await self._receiving
        self._session = self._session or aiohttp.ClientSession(self._url, headers=self._headers)
        self._socket = await self._session.ws_connect(self._socket_path)
        self._receiving = self.create_task(self._receive(self._socket))

    async def _end_segment(self):
        if self._rate is not None:
            self._rate = None
            if not self._socket.closed:
                await self._socket.send_json({"type": "end"})

    async def _interrupt(self):
        self._rate = None
        if self._socket is None or self._socket.closed:
            return
        self._unwanted = len(self._starting)
        for task_id in list(self._running):
            await self._cancel(task_id)
        try:
            await self._socket.send_json({"type": "interrupt"})
        except (aiohttp.ClientError, OSError) as error:
            await self.push_error(error_msg=f"the avatar can't be interrupted: {error}", exception=error)

    async def _cancel(self, task_id: str):
        """Beside the socket, where it overtakes the sound that waits in it."""
        try:
            async with self._session.delete(f"/v1/tasks/{task_id}"):
                pass
        except (aiohttp.ClientError, OSError) as error:
            await self.push_error(error_msg=f"the avatar can't be interrupted: {error}", exception=error)

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse):
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await self._take(json.loads(message.data))
        for _ in [*self._running, *self._starting]:
            await self._call_event_handler("on_heard", 0.0, "source_lost")
        self._running.clear()
        self._starting.clear()
        self._unwanted, self._rate = 0, None
        await self._check_over()

    async def _take(self, message: dict):
        kind = message["type"]
        if kind == "accepted":
            self._running[message["task_id"]] = self._starting.popleft()
            if self._unwanted:
                self._unwanted -= 1
                await self._cancel(message["task_id"])
        elif kind == "started" and not self._speaking:
            self._speaking = True
            await self.broadcast_frame(BotStartedSpeakingFrame)
        elif kind == "ended":
            heard_s = message["heard_samples"] / self._running.pop(message["task_id"])
            await self._call_event_handler("on_heard", heard_s, message["reason"])
            await self._check_over()
        elif kind == "error":
            if "task_id" not in message and self._starting:  # a segment that was refused, as the rest of its sound is
                self._starting.popleft()
                self._unwanted = max(0, self._unwanted - 1)
                await self._call_event_handler("on_heard", 0.0, "failed")
                await self._check_over()
            await self.push_error(error_msg=message["message"])

    async def _check_over(self):
        if not self._running and not self._starting:
            self._over.set()
            if self._speaking:
                self._speaking = False
                await self.broadcast_frame(BotStoppedSpeakingFrame)

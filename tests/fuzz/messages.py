"""Messages on the WebSockets that nobody described, drawn by hypothesis."""

import base64
import json

from hypothesis import strategies as st

from tests.fuzz.requests import OBJECTS, RAW, VALUES

SOCKETS = st.sampled_from(
    (
        "/v1/channels/main/speech",
        "/v1/channels/main/conversation",
        "/v1/channels/main/realtime",
        "/v1/realtime",
        "/v1/realtime?model=main",
    )
)
_TYPES = st.sampled_from(
    ("start", "text", "cue", "end", "interrupt", "release", "reset", "session.update", "input_audio_buffer.append",
     "input_audio_buffer.commit", "input_audio_buffer.clear", "conversation.item.create", "conversation.item.truncate",
     "conversation.item.delete", "response.create", "response.cancel", "", "error", "\0")
)  # fmt: skip
_PCM = st.one_of(
    st.binary(max_size=400),
    st.sampled_from((bytes(3200), bytes(3201), b"\x00\x80" * 1600, b"\xff\x7f" * 24_000, b"\0\0\xc0\x7f" * 800)),
)
"""Sound of some milliseconds: silence, full scale, half a sample too many, the bits of NaN."""
_BASE64 = st.one_of(_PCM.map(lambda sound: base64.b64encode(sound).decode()), st.text(max_size=40))
_NEAR = st.fixed_dictionaries(
    {"type": _TYPES},
    optional={
        "format": st.sampled_from(("s16le", "pcm_s16le", "webm", "ogg", "text", "mp3")),
        "sample_rate": st.sampled_from((16_000, 48_000, 8000, 7999, 48_001, 0, -1, 1e9, "16000", True)),
        "channels": st.sampled_from((1, 2, 0, 3, -1, 1.5)),
        "source": st.sampled_from(("stream", "microphone", "upload")),
        "mode": st.sampled_from(("open", "push", "")),
        "text": st.one_of(st.sampled_from(("Hello.", " ", "[wave] Hello. [nothing]", "a" * 5000, "…")), VALUES),
        "motion": st.one_of(st.sampled_from(("wave", "nobody")), VALUES),
        "audio": _BASE64,
        "item_id": st.one_of(st.just("item_1"), VALUES),
        "audio_end_ms": st.one_of(st.sampled_from((0, 100, -1, 1e12)), VALUES),
        "content_index": VALUES,
        "session": st.one_of(
            st.fixed_dictionaries(
                {"type": st.sampled_from(("realtime", "transcription"))},
                optional={"instructions": VALUES, "audio": VALUES, "tools": VALUES, "output_modalities": VALUES},
            ),
            VALUES,
        ),
        "item": st.one_of(
            st.fixed_dictionaries(
                {"type": st.sampled_from(("message", "function_call_output", "file"))},
                optional={
                    "role": st.sampled_from(("user", "assistant", "system", "root")),
                    "content": st.one_of(
                        st.just([{"type": "input_text", "text": "What time is it?"}]), st.lists(VALUES, max_size=3)
                    ),
                    "call_id": VALUES,
                },
            ),
            VALUES,
        ),
        "response": VALUES,
        "more": VALUES,
    },
)
_START = st.sampled_from(
    (
        {"type": "start", "sample_rate": 16_000},
        {"type": "start", "sample_rate": 48_000, "channels": 2},
        {"type": "start", "format": "webm"},
        {"type": "start", "format": "text"},
    )
)
_MESSAGE = st.one_of(
    _START.map(json.dumps),
    _NEAR.map(json.dumps),
    OBJECTS.map(json.dumps),
    RAW,
    RAW.map(lambda body: body.decode(errors="replace")),
    _PCM,
)
MESSAGES = st.lists(_MESSAGE, max_size=10)
"""What a client sends on one connection: texts as `str`, sound as `bytes`."""
ENDS = st.sampled_from(("closed", "closed", "half-closed", "cut"))
"""How the client leaves: by a close frame, by ending its side alone, or without a word."""

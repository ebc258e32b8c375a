"""Requests that nobody described: JSON, queries, forms and bytes, drawn by hypothesis."""

from hypothesis import strategies as st

_TEXTS = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        ("", "0", "-1", "1e309", "NaN", "9" * 5000, "000000001" + "0" * 5000, "٣", "½", "../../etc/passwd", "%00", "\0",
         "main", "demo", "true", "{}", "rtmp://127.0.0.1/live/x", "a" * 3000, "\ud7ff\ue000", "\r\nX-Evil: 1")
    ),
)  # fmt: skip
_NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from((0, -1, 2**31, 2**63, 10**400, float("nan"), float("inf"), 1e308, 0.1)),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_TEXTS, inner, max_size=4)),
    max_leaves=12,
)
_FIELDS = st.sampled_from(
    ("channel", "avatar", "targets", "picture_size", "fade_frames", "video_bitrate_kbps", "x264_preset", "name", "key")
)
OBJECTS = st.dictionaries(st.one_of(_FIELDS, _TEXTS), VALUES, max_size=6)
NESTED = st.builds(
    lambda opening, depth, closing: opening * depth + closing,
    st.sampled_from((b"[", b'{"a":', b'{"name":[')),
    st.sampled_from((10, 900, 5000, 30_000)),
    st.sampled_from((b"", b"1", b"]" * 900)),
)
RAW = st.one_of(st.binary(max_size=300), NESTED, st.sampled_from((b"", b"null", b"NaN", b"[]", b'"\\ud800"', b"\xff")))
"""Bodies that are hardly JSON."""

JSON_TARGETS = st.sampled_from(
    (
        ("POST", "/v1/channels"),
        ("PATCH", "/v1/channels/main"),
        ("PATCH", "/v1/channels/fuzzed"),
        ("PATCH", "/v1/avatars/demo"),
        ("PATCH", "/v1/avatars/nobody"),
        ("POST", "/v1/session"),
        ("POST", "/v1/channels/main/interrupt"),
        ("DELETE", "/v1/channels/fuzzed"),
    )
)
QUERY_TARGETS = st.sampled_from(
    ("/v1/tasks", "/v1/tasks/{}", "/v1/channels/{}", "/v1/avatar-tasks/{}", "/v1/avatars/{}/preview.png", "/{}",
     "/v1/{}", "/health/ready", "/metrics", "/openapi.json", "/v1/session", "/")
)  # fmt: skip
QUERIES = st.dictionaries(st.one_of(st.sampled_from(("limit", "queue")), _TEXTS), _TEXTS, max_size=3)
WORDS = _TEXTS

_HEADERS = st.one_of(
    st.builds(lambda name: f'Content-Disposition: form-data; name="{name}"'.encode(), _FIELDS),
    st.just(b'Content-Disposition: form-data; name="audio_file"; filename="a.wav"'),
    st.just(b'Content-Disposition: form-data; name="video"; filename="a.mp4"'),
    st.builds(
        lambda name, value: f'Content-Disposition: form-data; name="{name}"; filename="{value}"'.encode(),
        _TEXTS,
        _TEXTS,
    ),
    st.sampled_from(
        (b"Content-Disposition", b": x", b"Content-Transfer-Encoding: base64", b"X: " + b"y" * 20_000, b"")
    ),
    st.binary(max_size=60),
)
_PARTS = st.tuples(
    st.lists(_HEADERS, max_size=3), st.one_of(st.binary(max_size=400), st.builds(str.encode, st.text(max_size=40)))
)
_ENDS = st.sampled_from((b"--x--\r\n", b"--x--", b"--x", b"", b"--x--\r\n" * 3, b"--y--\r\n", b"\r\n"))
FORMS = st.builds(
    lambda parts, end, cut: (
        b"".join(b"--x\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + body + b"\r\n" for headers, body in parts) + end
    )[cut:],
    st.lists(_PARTS, max_size=5),
    _ENDS,
    st.sampled_from((0, 0, 0, 1, 9)),
)
FORM_TYPES = st.sampled_from(
    ("multipart/form-data; boundary=x",) * 6
    + ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 300,
       "multipart/mixed; boundary=x", 'multipart/form-data; boundary="x', "text/plain", "")
)  # fmt: skip
FORM_TARGETS = st.sampled_from(("/v1/tasks", "/generate_video", "/v1/avatars"))

_LINES = st.sampled_from(
    (b"GET / HTTP/1.1\r\n", b"POST /v1/tasks HTTP/1.1\r\n", b"GET /v1/tasks/%ff%00 HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n",
     b"Host: 127.0.0.1\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n",
     b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n",
     b"Expect: 100-continue\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n",
     b"Cookie: latentsync_session_11001=\xff\r\n",
     b"Authorization: Bearer \xff\xfe\r\n", b"Origin: null\r\n", b"Host: [::1\r\n")
)  # fmt: skip
WIRE = st.builds(
    lambda lines, end: b"".join(lines) + end, st.lists(st.one_of(_LINES, st.binary(max_size=80)), max_size=8),
    st.sampled_from((b"", b"\r\n\r\n")),
)  # fmt: skip
"""Bytes on a connection that may or may not be HTTP."""

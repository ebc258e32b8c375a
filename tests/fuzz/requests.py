"""Requests that nobody described, drawn by hypothesis."""

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
    (
        "channel",
        "avatar",
        "targets",
        "picture_size",
        "fade_frames",
        "mouth_fade_frames",
        "video_bitrate_kbps",
        "x264_preset",
        "voice",
        "language",
        "text",
        "rate",
        "name",
        "key",
        "target",
        "conversation",
        "state_motions",
        "motion",
        "repeat",
        "at",
        "model",
        "input",
        "response_format",
        "session_id",
        "livekit_url",
        "livekit_token",
        "avatar_id",
        "motion_of",
        "service",
        "prompt",
    )
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
        ("POST", "/v1/channels/main/say"),
        ("POST", "/v1/channels/main/chat"),
        ("POST", "/v1/channels/main/targets"),
        ("POST", "/v1/channels/main/motions"),
        ("POST", "/v1/channels/main/whep"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/sessions"),
        ("POST", "/v1/sessions/token"),
        ("POST", "/v1/sessions/start"),
        ("POST", "/v1/sessions/stop"),
        ("POST", "/v1/avatars/films"),
        ("PATCH", "/v1/avatars/demo/motions/wave"),
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
FORM_TARGETS = st.sampled_from(
    ("/v1/tasks", "/generate_video", "/v1/avatars", "/v1/avatars/films", "/v1/avatars/demo/motions")
)

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

_TOKENS = st.text(st.sampled_from("ABCXYZabcxyz0189!#$%&'*+-.^_`|~"), min_size=1)
_METHODS = st.one_of(
    st.sampled_from(("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get",
                     "G" * 30_000, "M-SEARCH", "QUERY", "PRI")),
    _TOKENS,
)  # fmt: skip
_PATHS = st.sampled_from(
    ("/", "*", "/v1/tasks", "/v1/tasks/x", "/v1/channels/main", "/v1/channels/main/interrupt", "/v1/avatars/demo",
     "/v1/session", "/health/live", "/metrics", "/nothing", "/v1/events/x", "/page/main.js", "/page/../../etc/passwd")
)  # fmt: skip
METHODS = st.builds(
    lambda method, path, more: f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode(),
    _METHODS,
    _PATHS,
    st.sampled_from(("", "Content-Length: 0\r\n", "Origin: http://elsewhere.example\r\n", "Connection: close\r\n")),
)
"""Requests with methods that a route has, that HTTP has, and that nobody has."""

_UPGRADE_HEADERS = st.sampled_from(
    ("Upgrade: websocket", "Upgrade: WebSocket, h2c", "Upgrade: h2c", "Upgrade: TLS/1.0", "Upgrade:", "Upgrade: \tx",
     "Connection: Upgrade", "Connection: keep-alive, Upgrade", "Connection: upgrade, HTTP2-Settings",
     "HTTP2-Settings: AAMAAABkAAQAAP__", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 99",
     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key: x", "Sec-WebSocket-Protocol: a, b, c",
     "Sec-WebSocket-Extensions: permessage-deflate", "Expect: 100-continue", "Content-Length: 3")
)  # fmt: skip
UPGRADES = st.builds(
    lambda method, path, headers, after: (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
        + b"".join(f"{header}\r\n".encode() for header in headers)
        + b"\r\n"
        + after
    ),
    st.sampled_from(("GET", "GET", "POST", "OPTIONS")),
    st.one_of(_PATHS, st.sampled_from(("/v1/channels/main/speech", "/v1/channels/main/conversation"))),
    st.lists(_UPGRADE_HEADERS, max_size=7),
    st.one_of(st.just(b""), st.binary(max_size=40), st.just(b"\x81\x85\0\0\0\0hello")),
)
"""Requests to go over to another protocol that are not, or hardly, a WebSocket's handshake."""

_SCHEMES = st.sampled_from(("rtmp", "rtmps", "srt", "udp", "http", "file", "RTMP", "", "javascript", "concat", "pipe"))
_HOSTS = st.sampled_from(
    ("live.example", "127.0.0.1", "[::1]", "[::", "[v1.x]", "", "a" * 300, "user:pw@h", "@", "h:0", "h:99999", "h:-1",
     "h:x", "h:", "h:65535", "0.0.0.0:1", "xn--", "%00", "h\\x", "1.2.3.4.5", "☃", "h h", "169.254.169.254")
)  # fmt: skip
_RESTS = st.sampled_from(
    ("", "/", "/app/key", "/app/key/", "/app/***", "?mode=listener", "?mode=caller&mode=listener", "#?mode=listener",
     "/a/b?streamid=x&passphrase=y", "/%2e%2e/%00", "/a|b", "/[f=flv]x", "/" + "k" * 2000, " -f null", "\n-y", "?" * 20)
)  # fmt: skip
ADDRESSES = st.one_of(
    st.builds(lambda scheme, host, rest: f"{scheme}://{host}{rest}", _SCHEMES, _HOSTS, _RESTS),
    st.builds(lambda scheme, host, rest: f"{scheme}:{host}{rest}", _SCHEMES, _HOSTS, _RESTS),
    st.sampled_from(("show.flv", "../show.flv", "/etc/show.flv", "-y.flv", "a/../../b.ts", "a:b.mp4", "x.m3u8", ".flv",
                     "con.flv\0", "a" * 300 + ".flv", "a//b.ts", "show.flv/", "~/show.flv", "$HOME.flv")),
    _TEXTS,
)  # fmt: skip
TARGETS = st.builds(lambda targets: {"targets": targets}, st.lists(ADDRESSES, min_size=1, max_size=9))
"""Changes of a channel's targets."""

_NEAR = st.one_of(
    st.integers(-2, 70), st.integers(62, 4100), st.sampled_from((99, 100, 50_000, 50_001, 2.0, "25", True))
)
DEFINITIONS = st.fixed_dictionaries(
    {
        "channel": st.one_of(st.just("fuzzed"), st.text(st.sampled_from("abz09_-A /\n"), max_size=34), VALUES),
        "avatar": st.one_of(st.just("nobody"), st.text(st.sampled_from("az0_-./"), max_size=66), VALUES),
    },
    optional={
        "targets": st.one_of(st.lists(ADDRESSES, max_size=9), VALUES),
        "picture_size": st.one_of(st.lists(_NEAR, max_size=3), VALUES),
        "fade_frames": _NEAR,
        "mouth_fade_frames": _NEAR,
        "video_bitrate_kbps": _NEAR,
        "x264_preset": st.one_of(st.sampled_from(("fast", "FAST", "placebo", "")), VALUES),
        "voice": st.one_of(st.sampled_from(("heart", "", "a b", "x" * 65)), VALUES),
        "language": st.one_of(st.sampled_from(("en", "zh-CN", "-", "english language")), VALUES),
        "more": VALUES,
    },
)
"""Definitions of channels that are nearly right; none names an avatar that there is."""

LONG_ANSWERS = (
    "/v1/events", "/v1/channels/main/preview.mp4", "/openapi.json", "/metrics", "/page/style.css",
    "/v1/tasks?limit=1000",
)  # fmt: skip
"""What a client may ask for and then not read."""

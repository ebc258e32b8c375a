"""Addresses of targets: what is accepted has one reading, and what is refused has a reason without the key."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.access.allowed_targets import EVERYWHERE, AllowedTargets
from orchestrator.channels.definition import ChannelDefinition, DefinitionError
from streaming.address import SCHEMES, Address
from streaming.targets import mask

KEY = "s3cr3t-k3y"
HOSTS = st.sampled_from(
    ["h", "live.example", "[::1]", "[::1", "::1]", "[x]", "", "a b", "%41", "10.0.0.5", "-", "a\\b"]
)
PORTS = st.one_of(st.just(""), st.text("0123456789:abc%@/?#", max_size=6).map(":{}".format))
RESTS = st.text("/?#&=@:%.azAZ019+;[]\\", max_size=24)
ADDRESSES = st.builds(
    lambda scheme, user, host, port, rest: f"{scheme}://{user}{host}{port}{rest}",
    st.sampled_from([*SCHEMES, "http", "RTMP"]), st.sampled_from(["", "@", "u:p@", "a@b@"]), HOSTS, PORTS, RESTS,
)  # fmt: skip


@given(ADDRESSES | st.text(max_size=40))
@example("rtmp://host:99999/app/key")
@example("rtmp://[::1/app/key")
@example("srt://0.0.0.0:1#?mode=listener")
@settings(max_examples=2000, deadline=None)
def test_any_text_is_accepted_or_refused_and_never_raises_anything_else(target: str) -> None:
    try:
        ChannelDefinition.parse({"channel": "a", "avatar": "b", "targets": [target]})
    except DefinitionError:
        refused = True
    else:
        refused = False
    allowed = AllowedTargets(EVERYWHERE).refusal(target) is None
    assert refused or allowed, "what is defined and listed may be published to"
    mask(target)


@given(ADDRESSES)
@settings(max_examples=2000, deadline=None)
def test_what_is_accepted_is_read_alike_by_another_parser_and_has_no_second_reading(target: str) -> None:
    try:
        address = Address.parse(target)
    except ValueError:
        return
    assert Address.parse(str(address)) == address
    parts = urlsplit(str(address))
    assert (parts.scheme, parts.hostname, parts.port) == (address.scheme, address.host, address.port)
    assert "#" not in str(address) or address.scheme.startswith("rtmp")


@given(
    st.sampled_from(["rtmp", "rtmps"]), st.sampled_from(["", "/one", "?a=b"]), st.sampled_from(["", "/", "//", "?x=1"])
)
def test_a_key_is_masked_wherever_it_stands_after_the_application(scheme: str, between: str, after: str) -> None:
    target = f"{scheme}://u:{KEY}@live.example/app{between}/{KEY}{after}"
    assert mask(target) == f"{scheme}://live.example/app/***"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (f"rtmp://h:99999/app/{KEY}", "port must be a number from 1 to 65535"),
        (f"rtmp://h:{KEY}/app", "port must be a number"),
        (f"rtmp://h:/app/{KEY}", "port must be a number"),
        (f"rtmp://[::1/app/{KEY}", "brackets must hold an IPv6 address"),
        (f"rtmp://a%41/app/{KEY}", "host name must consist of"),
        (f"rtmp:///app/{KEY}", "host is missing"),
        (f"rtmp://h#/app/{KEY}", "must name an application"),
        (f"srt://{KEY}@h:9000", "takes no user"),
        (f"srt://h:9000/{KEY}", "takes no path"),
        (f"srt://h:9000?{KEY}=1", "not supported; streamid"),
        ("srt://0.0.0.0:1#?mode=listener", "no '#'"),
        ("srt://h:9000?mode=listener", "mode caller"),
        ("srt://h", "must name a port"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_not_the_key(target: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        Address.parse(target)
    assert KEY not in str(raised.value)

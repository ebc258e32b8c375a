"""What an offer may be, and what of it reaches aiortc."""

from __future__ import annotations

import pytest

from streaming.webrtc.sdp import BadOffer, NoCommonCodec, announced, checked_fragment, checked_offer, fragment_user

VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:0\r\na=recvonly\r\na=rtpmap:102 H264/90000\r\n"
AUDIO = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=recvonly\r\na=rtpmap:111 opus/48000/2\r\n"
HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:x\r\na=fingerprint:y\r\n"


def test_kinds_are_those_of_the_sections() -> None:
    assert checked_offer(HEAD + AUDIO + VIDEO)[1] == ("audio", "video")
    assert checked_offer((HEAD + VIDEO).replace("\r\n", "\n"))[1] == ("video",)


def test_candidates_of_the_viewer_are_not_used() -> None:
    candidate = "a=candidate:1 1 udp 2113937151 10.0.0.5 53 typ host\r\na=end-of-candidates\r\n"
    assert checked_offer(HEAD + VIDEO + candidate)[0] == HEAD + VIDEO


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        ("", "begins with v=0"),
        ("hello", "begins with v=0"),
        (HEAD, "no m= section"),
        (HEAD + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n", "one is 'application'"),
        (HEAD.replace("fingerprint", "finger") + VIDEO, "has no line a=fingerprint:"),
        (HEAD + VIDEO + VIDEO, "two sections of one kind"),
        (HEAD + VIDEO.replace("recvonly", "sendonly"), "must be recvonly"),
        (HEAD + VIDEO + "a=x\r\n" * 3000, "at most 2000 lines"),
    ],
)
def test_another_offer_is_refused_with_the_reason(offer: str, message: str) -> None:
    with pytest.raises(BadOffer, match=message):
        checked_offer(offer)


def test_an_offer_of_vp8_alone_is_told_what_there_is() -> None:
    with pytest.raises(NoCommonCodec, match="video is H264 here, and the offer takes vp8"):
        checked_offer(HEAD + VIDEO.replace("H264", "VP8"))


def test_an_answer_has_each_port_at_the_announced_addresses_too() -> None:
    own = "a=candidate:f 1 udp 2130706431 10.1.2.3 50000 typ host"
    loopback = "a=candidate:g 1 udp 2130706431 127.0.0.1 50001 typ host"
    six = "a=candidate:h 1 udp 2130706431 fd00::2 50002 typ host"
    answer = "\r\n".join(["v=0", own, loopback, six, ""])
    lines = announced(answer, ["203.0.113.7", "2001:db8::1"]).split("\r\n")
    assert lines == [
        "v=0", own, "a=candidate:f0 1 udp 2130706431 203.0.113.7 50000 typ host", loopback,
        six, "a=candidate:h1 1 udp 2130706431 2001:db8::1 50002 typ host", "",
    ]  # fmt: skip
    assert announced(answer, []) == answer


def test_a_fragment_is_recognised() -> None:
    fragment = "a=ice-ufrag:abcd\r\na=ice-pwd:x\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
    checked_fragment(fragment)
    assert fragment_user(fragment) == "abcd"
    assert fragment_user("a=mid:0") is None
    with pytest.raises(BadOffer, match="one is '<html>'"):
        checked_fragment("<html>")

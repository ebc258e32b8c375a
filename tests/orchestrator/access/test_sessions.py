"""Sessions stand for a key, for some hours, and end with it."""

from pathlib import Path

from orchestrator.access.gate import Gate
from orchestrator.access.keys import KeyFile, Scope
from orchestrator.access.sessions import LASTS_S, Sessions

ADDRESS = "192.0.2.1"


def test_session_may_do_what_its_key_may_and_ends_with_it(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    secret = keys.add("studio", Scope.SPEAK)
    gate = Gate(keys.path, required=True, host="0.0.0.0")
    token = gate.begin_session(secret)
    assert token is not None and token not in secret
    assert gate.caller(None, ADDRESS, token).scope is Scope.SPEAK
    assert gate.caller(None, ADDRESS, token).name == "key studio"
    assert gate.caller(token, ADDRESS).scope is None, "a session's token is no key"
    keys.remove("studio")
    assert gate.caller(None, ADDRESS, token).scope is None
    keys.add("studio", Scope.ADMINISTER)
    assert gate.caller(None, ADDRESS, token).scope is None, "a new key of the old name"


def test_ended_session_and_unknown_tokens_open_nothing(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    secret = keys.add("studio", Scope.VIEW)
    gate = Gate(keys.path, required=True, host="0.0.0.0")
    first, second = gate.begin_session(secret), gate.begin_session(secret)
    assert first is not None
    gate.end_session(first)
    assert gate.caller(None, ADDRESS, first).scope is None
    assert gate.caller(None, ADDRESS, second).scope is Scope.VIEW
    assert gate.begin_session("lsr_wrong") is None
    for token in ("", "x", "\udcff"):
        assert gate.caller(None, ADDRESS, token).scope is None


def test_session_ends_after_some_hours() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    early = sessions.begin("a")
    now[0] = 1.0
    late = sessions.begin("a")
    now[0] = LASTS_S
    assert (sessions.key_of(early), sessions.key_of(late)) == (None, "a")


def test_key_has_some_sessions_at_most_and_its_oldest_ends() -> None:
    sessions = Sessions()
    other, tokens = sessions.begin("other"), [sessions.begin("a") for _ in range(25)]
    assert [sessions.key_of(token) for token in tokens] == [None] * 5 + ["a"] * 20
    assert sessions.key_of(other) == "other"

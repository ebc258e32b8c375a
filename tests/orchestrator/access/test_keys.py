"""Keys: shown once, kept as hashes, gone at once when they are removed."""

import json
import os
import stat
from pathlib import Path

import pytest

from orchestrator.access.gate import Gate, NoKeys
from orchestrator.access.keys import KeyFile, KeyFileError, Scope
from orchestrator.access.limits import RateLimit
from orchestrator.access.loopback import is_loopback
from tests.support.command_line import cli


def test_key_is_found_by_what_was_shown_and_is_not_in_the_file(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    secret = file.add("studio", Scope.SPEAK)
    found = file.find(secret)
    assert found is not None and (found.name, found.scope) == ("studio", Scope.SPEAK)
    assert secret not in file.path.read_text() and secret.removeprefix("lsr_") not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert file.find(found.sha256) is None and file.find("") is None


def test_only_a_key_that_may_watch_is_for_one_channel(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    found = KeyFile(file.path).find(file.add("window", Scope.WATCH, "main"))
    assert found is not None and (found.scope, found.channel) == (Scope.WATCH, "main")
    with pytest.raises(KeyFileError, match="may speak is for all channels"):
        file.add("studio", Scope.SPEAK, "main")


def test_removed_key_opens_nothing_in_a_server_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secret, other = KeyFile(path).add("gone", Scope.VIEW), KeyFile(path).add("stays", Scope.VIEW)
    gate = Gate(path, required=True, host="0.0.0.0")
    assert gate.caller(secret, "192.0.2.1").scope is Scope.VIEW
    KeyFile(path).remove("gone")
    assert gate.caller(secret, "192.0.2.1").scope is None
    assert gate.caller(other, "192.0.2.1").scope is Scope.VIEW


def test_damaged_file_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secret = KeyFile(path).add("a", Scope.VIEW)
    gate = Gate(path, required=True, host="0.0.0.0")
    path.write_text("{")
    assert gate.caller(secret, "192.0.2.1").scope is None
    with pytest.raises(KeyFileError, match="damaged"):
        Gate(path, required=True, host="0.0.0.0")


@pytest.mark.parametrize("name", ["", "../x", "A", "a" * 33, "a b"])
def test_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFileError, match="the name"):
        KeyFile(tmp_path / "keys.json").add(name, Scope.VIEW)


def test_name_is_given_once(tmp_path: Path) -> None:
    KeyFile(tmp_path / "keys.json").add("a", Scope.VIEW)
    with pytest.raises(KeyFileError, match="there is a key 'a'"):
        KeyFile(tmp_path / "keys.json").add("a", Scope.VIEW)
    with pytest.raises(KeyFileError, match="no key 'b'; there is a"):
        KeyFile(tmp_path / "keys.json").remove("b")


def test_without_keys_nothing_listens_where_others_reach_it(tmp_path: Path) -> None:
    with pytest.raises(NoKeys, match="key add"):
        Gate(tmp_path / "keys.json", required=True, host="0.0.0.0")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "192.168.0.1", "example.com", "", "127.0.0.1.example.com")],
)
def test_only_loopback_counts_as_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_command_line_makes_lists_and_removes_keys(tmp_path: Path) -> None:
    made = cli("key", "add", "news", "--scope", "administer", "--data-dir", str(tmp_path))
    secret = made.stdout.strip()
    found = KeyFile(tmp_path / "keys.json").find(secret)
    assert found is not None and found.scope is Scope.ADMINISTER
    listed = cli("key", "list", "--data-dir", str(tmp_path)).stdout
    assert listed.startswith("news\tadminister\t") and secret not in listed
    assert cli("key", "add", "x", "--scope", "all", "--data-dir", str(tmp_path)).returncode == 1
    assert cli("key", "remove", "news", "--data-dir", str(tmp_path)).returncode == 0
    assert json.loads((tmp_path / "keys.json").read_text())["keys"] == []


def test_server_that_others_reach_does_not_start_without_a_key(tmp_path: Path) -> None:
    answer = cli("serve", "--host", "0.0.0.0", "--data-dir", str(tmp_path), PATH=os.environ["PATH"])
    assert answer.returncode == 1
    assert "key add" in answer.stderr and "Traceback" not in answer.stderr


def test_rate_is_a_minutes_worth_at_once_and_fills_evenly() -> None:
    now = [0.0]
    limit = RateLimit(60, lambda: now[0])
    assert [limit.take("a") for _ in range(61)] == [0] * 60 + [1]
    assert limit.take("b") == 0
    now[0] = 2.5
    assert [limit.take("a") for _ in range(3)] == [0, 0, 1]
    assert RateLimit(0).take("a") == 0


def test_callers_of_one_ipv6_network_are_one_caller(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "keys.json", required=False, host="::1")
    assert gate.caller(None, "2001:db8::1").name == gate.caller(None, "2001:db8::ffff").name
    assert gate.caller(None, "192.0.2.1").name != gate.caller(None, "192.0.2.2").name


def test_key_that_comes_back_under_its_name_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secret = KeyFile(path).add("a", Scope.VIEW)
    gate = Gate(path, required=True, host="127.0.0.1")
    caller = gate.caller(secret, "192.0.2.1")
    assert gate.still_admits(caller)
    KeyFile(path).remove("a")
    KeyFile(path).add("a", Scope.VIEW)
    assert not gate.still_admits(caller)

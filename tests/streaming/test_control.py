"""The channel's process and what its parent writes to it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("line", [b"garbage\n", b"[1]\n", b'{"op": "reserve"}\n', b"\xff\n"])
@pytest.mark.timeout(60)
def test_process_ends_with_an_error_at_a_line_that_is_no_request(line: bytes) -> None:
    command = [sys.executable, "-m", "streaming.process", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(line)
        process.stdin.flush()  # and stays open, as that of a parent who waits for an answer
        assert process.wait() == 1
        said = process.stderr.read().decode()
    assert "standard input must be lines of JSON objects" in said and "Traceback" not in said


def test_process_ends_in_order_when_its_parent_says_nothing() -> None:
    command = [sys.executable, "-m", "streaming.process", "-"]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=60).returncode == 0

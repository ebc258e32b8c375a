"""The secret of Triton's calls: what it may look like, and where it must not appear."""

from pathlib import Path

import pytest

from inference.launcher import TritonOptions
from inference.secret import checked_secret, new_secret
from inference.transport import TritonSettings

SECRET = new_secret()


def test_secret_appears_in_no_representation_of_settings() -> None:
    options = TritonOptions(Path(), Path(), Path(), secret=SECRET)
    assert SECRET not in repr(options) and SECRET not in repr(TritonSettings(secret=SECRET))


@pytest.mark.parametrize("text", ["", "short", "a" * 40 + "=b", "a" * 20 + " " + "b" * 20])
def test_secret_that_would_change_tritons_command_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="32 to 128"):
        checked_secret(text)
    assert checked_secret(f" {SECRET}\n") == SECRET

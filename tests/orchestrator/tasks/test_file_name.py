"""The name of an uploaded file is a text for people: one line, short, without folders and without tricks."""

import pytest

from orchestrator.tasks.file_name import LONGEST, shown_name


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("greeting.wav", "greeting.wav"),
        ("Grüße, 世界 – 👋.m4a", "Grüße, 世界 – 👋.m4a"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\anna\\speech.wav", "speech.wav"),
        ("two\nlines\tand\x1b[31mred\x00.wav", "two lines and[31mred.wav"),
        ("line\u2028break.wav", "line break.wav"),
        ("invoice\u202egpj.exe", "invoicegpj.exe"),
        ("  many   spaces .wav ", "many spaces .wav"),
        ("half a \ud83d pair.wav", "half a pair.wav"),
        ("<b>bold</b>.wav", "b>.wav"),
        ("", None),
        ("folder/", None),
        ("\x00\u200b", None),
    ],
)
def test_name_is_shown_as_one_clean_line(sent: str, shown: str | None) -> None:
    assert shown_name(sent) == shown


@pytest.mark.parametrize(("ending", "kept"), [(".wav", "….wav"), (".a-very-long-ending", "…"), ("", "…")])
def test_long_name_is_cut_and_keeps_a_short_ending(ending: str, kept: str) -> None:
    shown = shown_name("x" * 2000 + ending)
    assert shown is not None and len(shown) == LONGEST
    assert shown.startswith("x") and shown.endswith(kept)

"""The name of an uploaded file, as people may see it."""

from __future__ import annotations

import unicodedata

LONGEST = 120
# Control characters, marks that turn the direction of a text, surrogates, and breaks of lines and paragraphs.
_NOT_SHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def shown_name(sent: str) -> str | None:
    """What is shown of a file's name that a client sent, or None where nothing is left of it.

    Folders are left out. At most `LONGEST` characters are kept; the end, which holds the ending, is kept where it is
    short. The result is a text for people and never a path: nothing may be opened by it.
    """
    last = sent.replace("\\", "/").rpartition("/")[2]
    text = "".join(" " if char.isspace() else char for char in last)
    text = "".join(char for char in text if unicodedata.category(char) not in _NOT_SHOWN)
    text = " ".join(text.split())
    if len(text) > LONGEST:
        _, dot, ending = text.rpartition(".")
        tail = f"…{dot}{ending}" if dot and len(ending) <= 8 else "…"
        text = text[: LONGEST - len(tail)] + tail
    return text or None

"""The page's words: every language has the same ones, and nothing is shown that isn't one of them."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from orchestrator.http.page_routes import FOLDER

WORDS = re.compile(r'^  (\w+): "(.+)",$', re.MULTILINE)
ENGLISH, CHINESE = (dict(WORDS.findall((FOLDER / f"{name}.js").read_text())) for name in ("english", "chinese"))
SCRIPTS = sorted(path for path in FOLDER.glob("*.js") if path.stem not in ("english", "chinese"))
# Names of things and signs, which are the same in every language.
SAME = {"latentsync", "realtime", "latentsync-realtime", "×", "–", ":", "lsr_…"}
SHOWN_ATTRIBUTES = {"aria-label", "placeholder", "title", "alt"}


class _Shown(HTMLParser):
    """What a page shows by itself, and the keys of the words that are put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.literal: set[str] = set()
        self.keys: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name.startswith("data-t"):
                self.keys.add(value or "")
            elif name in SHOWN_ATTRIBUTES and value:
                self.literal.add(value)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.literal.add(data.strip())


def test_both_languages_have_the_same_words_with_the_same_places() -> None:
    assert len(ENGLISH) > 200
    assert list(ENGLISH) == list(CHINESE)
    for key, text in ENGLISH.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", CHINESE[key])), key
    for name, words in (("english", ENGLISH), ("chinese", CHINESE)):
        lines = [line for line in (FOLDER / f"{name}.js").read_text().splitlines() if re.match(r"  \w", line)]
        assert len(lines) == len(words), f"{name}.js has a key twice, or a line that this test can't read"


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.html")), ids=lambda page: page.name)
def test_pages_show_no_text_of_their_own(page: Path) -> None:
    shown = _Shown()
    shown.feed(page.read_text())
    assert shown.literal <= SAME
    assert shown.keys <= set(ENGLISH)


def test_words_that_scripts_use_exist_and_none_is_left_over() -> None:
    text = "\n".join(path.read_text() for path in SCRIPTS)
    arguments = re.findall(r"\bt(\([^(){}]*)", text)  # of choices such as (live ? "a" : "b") too
    used = {key for each in arguments for key in re.findall(r'[(?:]\s*"(\w+)"', each)}
    assert used - set(ENGLISH) == set()
    groups = set(re.findall(r'named\("(\w+)"', text)) | set(re.findall(r"\bt\(`(\w+)_\$\{", text))
    for page in FOLDER.glob("*.html"):
        shown = _Shown()
        shown.feed(page.read_text())
        used |= shown.keys
    quoted = set(re.findall(r'"(\w+)"', text))  # words whose key is chosen before it is used
    left = [key for key in ENGLISH if key not in used | quoted and not key.startswith(tuple(f"{g}_" for g in groups))]
    assert left == []


def test_errors_in_chinese_are_those_of_the_api() -> None:
    table = re.findall(r'^  (\w+): "(.+)",$', (FOLDER / "chinese_errors.js").read_text(), re.MULTILINE)
    documented = set(re.findall(r"`(\w+)`", (FOLDER.parents[1] / "docs" / "api.md").read_text()))
    assert len(table) > 40
    assert {code for code, _ in table} <= documented
    assert [text for _, text in table if re.search("[a-z]{4,}", text)] == []


def test_scripts_hold_no_sentence() -> None:
    """A text with a space and a capital, or three small words: something that a person would read in one language."""
    sentence = re.compile(r'(?:"[^"\n]*"|`[^`\n]*`)')
    found = []
    for path in SCRIPTS:
        for line in path.read_text().splitlines():
            code = re.sub(r"(^|\s)//.*", "", line)
            for literal in sentence.findall(code):
                if re.search(r"[A-Z][a-z]+ [a-z]+|[a-z]{2,} [a-z]{2,} [a-z]{2,}", re.sub(r"\$\{.*?\}", "", literal)):
                    found.append((path.name, literal))
    assert found == []

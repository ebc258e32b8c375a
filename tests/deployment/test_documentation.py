"""The documentation's links lead somewhere, and no record or decision is left that no page names."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / f"{folder}/README.md" for folder in ("checkpoints", "examples", "training")),
    ]
)
# Without the records of measurements, which say what was run.
GUIDES = [page for page in PAGES if page.parent != ROOT / "docs" / "benchmarks" or page.name == "README.md"]

_FENCED_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_TARGET = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_LINK_TEXT = re.compile(r"\[([^]]*)\]\([^)]*\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    broken = [target for target in relative_links(page) if not leads_somewhere(page, target)]
    assert not broken, f"{page.relative_to(ROOT)} links to what does not exist: {', '.join(broken)}"


@pytest.mark.parametrize(
    ("folder", "index"),
    [("docs/benchmarks", "docs/benchmarks.md"), ("docs/decisions", "docs/decisions/README.md")],
)
def test_every_file_of_the_folder_is_linked_from_its_index(folder: str, index: str) -> None:
    page = ROOT / index
    linked = {(page.parent / target.partition("#")[0]).resolve() for target in relative_links(page)}
    files = {path for path in (ROOT / folder).iterdir() if path.name != "README.md"}
    assert files, f"{folder} is empty"
    assert {path.name for path in files - linked} == set(), f"{index} has no line for these: add one, or delete them"


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_with_our_commands_says_how_they_are_found(page: Path) -> None:
    blocks = _FENCED_CODE.findall(page.read_text())
    assert not any(".venv/bin/latentsync-realtime" in block for block in blocks), "one way: . .venv/bin/activate"
    if any(re.search(r"^\s*latentsync-realtime ", block, re.MULTILINE) for block in blocks):
        assert ". .venv/bin/activate" in page.read_text(), "without it the command is not found"


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_run_in_bash_and_in_zsh(page: Path) -> None:
    """An interactive zsh takes `#` as an argument, and refuses a line with a pattern that matches no file."""
    fenced = _FENCED_CODE.findall(page.read_text())
    for block in (block for block in fenced if block.startswith("```\n")):  # others name their language
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", block)
        assert not re.search(r"(^|\s)#", bare), f"a comment: {block}"
        assert not re.search(r"^(?:curl|latentsync-realtime|make|python|pip|sudo) .*[?*\[]", bare, re.MULTILINE), (
            f"quote it: {block}"
        )


@pytest.mark.parametrize("unit", ["latentsync-triton", "latentsync-serve"])
def test_systemd_accepts_the_units(unit: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    text = (ROOT / "examples" / f"{unit}.service").read_text()
    program = "/opt/latentsync-realtime/.venv/bin/latentsync-realtime"
    assert f"ExecStart={program} {unit.partition('-')[2]}\n" in text
    (tmp_path / f"{unit}.service").write_text(text.replace(program, "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / f"{unit}.service"], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_files_that_may_hold_keys_are_not_offered_to_git() -> None:
    secrets = ["settings.toml", "metrics_key", ".env", "docker/secrets/x"]
    ignored = subprocess.run(["git", "check-ignore", *secrets], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == secrets


def test_anchors_are_made_of_headings_as_github_makes_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# `bench gpu`\n\n```\n# no heading\n```\n## 1, 100, 10,000 channels\n## Twice\n## [Twice](x.md)\n")
    assert anchors(page) == {"bench-gpu", "1-100-10000-channels", "twice", "twice-1"}


def relative_links(page: Path) -> Iterator[str]:
    """Targets of the page's links and pictures that stay in the repository."""
    text = _INLINE_CODE.sub("", _FENCED_CODE.sub("", page.read_text()))
    return (target for target in _TARGET.findall(text) if not re.match(r"[a-z]+:", target))


def leads_somewhere(page: Path, target: str) -> bool:
    """Whether the file is there, and the heading in it where the target names one."""
    path, _, anchor = unquote(target).partition("#")
    file = page.parent / path if path else page
    return file.exists() and (not anchor or anchor in anchors(file))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    found: dict[str, int] = {}
    names = set()
    for heading in _HEADING.findall(_FENCED_CODE.sub("", page.read_text())):
        plain = _LINK_TEXT.sub(r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = found[name] = found.get(name, -1) + 1
        names.add(f"{name}-{count}" if count else name)
    return names

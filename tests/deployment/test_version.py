"""The version stands in pyproject.toml; what must repeat it says the same."""

import re
import tomllib
from importlib.metadata import version

import pytest

from tests.support.checkout import ROOT
from tests.support.command_line import cli

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_installed_package_has_the_version() -> None:
    assert version("latentsync-realtime") == VERSION


def test_the_command_line_prints_the_version() -> None:
    assert cli("--version").stdout == f"latentsync-realtime {VERSION}\n"


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("docker-compose.yml", r"\$\{LATENTSYNC_TAG:-(.+?)\}"),
        ("kubernetes/base/kustomization.yaml", r'newTag: "(.+?)"'),
    ],
)
def test_both_images_carry_the_version(file: str, pattern: str) -> None:
    """Compose and Kustomize read no pyproject.toml, so their files repeat the version."""
    assert re.findall(pattern, (ROOT / file).read_text()) == [VERSION, VERSION]


def test_the_changelog_has_a_section_for_the_version() -> None:
    sections = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == "Unreleased" and VERSION in sections


def test_no_code_holds_the_version() -> None:
    rooms = ("bench", "export", "inference", "latentsync", "orchestrator", "processes", "speech", "streaming")
    found = [path for room in rooms for path in (ROOT / room).rglob("*.py") if VERSION in path.read_text()]
    assert found == []

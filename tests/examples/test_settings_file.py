"""The example settings: every setting is there, described and defaulted as in the code, and the file can be loaded."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from orchestrator.settings import CONFIG_VARIABLE, Settings, load_settings
from tests.support.checkout import ROOT

TEXT = (ROOT / "examples/settings.toml").read_text()
ENTRY = re.compile(r"^# (?P<description>.+)\n#(?P<line>(?P<name>\w+) = .+)$", re.MULTILINE)
ENTRIES = {entry["name"]: entry for entry in ENTRY.finditer(TEXT)}


def test_the_file_as_it_is_changes_nothing() -> None:
    assert tomllib.loads(TEXT) == {}


def test_every_setting_is_there_once_with_its_description() -> None:
    described = {name: field.description for name, field in Settings.model_fields.items()}
    assert {name: entry["description"] for name, entry in ENTRIES.items()} == described
    assert len(ENTRY.findall(TEXT)) == len(described)


def test_values_that_do_not_depend_on_the_machine_are_the_defaults() -> None:
    for name, field in Settings.model_fields.items():
        fixed = field.default not in (None, PydanticUndefined, ()) and not isinstance(field.default, Path)
        if fixed:
            value = tomllib.loads(ENTRIES[name]["line"])[name]
            assert (tuple(value) if isinstance(value, list) else value) == field.default, name


def test_the_file_loads_with_every_line_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = f'"{sys.executable}"'  # programs that the file names may not be installed here
    lines = [
        re.sub(r'".+"', program, entry["line"]) if name in ("ffmpeg", "triton_binary") else entry["line"]
        for name, entry in ENTRIES.items()
    ]
    (tmp_path / "settings.toml").write_text("\n".join(lines))
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "settings.toml"))
    assert load_settings().triton_url == "10.0.0.5:8001"

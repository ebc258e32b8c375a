"""The command line: quick help, settings in and out, errors as sentences."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from orchestrator.cli import app
from tests.support.command_line import cli
from tests.support.running_server import free_port, settings_in
from tests.support.synthetic_avatar import write_avatar


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    program = "import sys; sys.argv = ['x', '--help']\ntry:\n    import orchestrator.cli as c; c.app()\n"
    program += "except SystemExit: pass\nprint(sorted({m.partition('.')[0] for m in sys.modules}))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for command in (
        "demo",
        "serve",
        "triton",
        "export",
        "avatar",
        "render",
        "speak",
        "fetch",
        "bench",
        "probe",
        "config",
    ):
        assert command in answer
    for heavy in ("torch", "cv2", "numpy", "uvicorn", "tritonclient"):
        assert f"'{heavy}'" not in answer


def commands(of: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    yield " ".join(path), of
    for name, command in getattr(of, "commands", {}).items():
        yield from commands(command, (*path, name))


@pytest.mark.parametrize(("name", "command"), [*commands(typer.main.get_command(app))])
def test_every_command_says_its_purpose_in_a_line_and_explains_all_that_it_takes(name: str, command: Any) -> None:
    purpose = command.help or ""
    assert "\n" not in purpose and 10 < len(purpose) <= 110, purpose
    unexplained = [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]
    assert unexplained == []


def test_config_prints_a_file_that_can_be_read_again(tmp_path: Path) -> None:
    printed = cli("config", LATENTSYNC_FADE_FRAMES="3", LATENTSYNC_DATA_DIR=str(tmp_path / 'with "quotes"'))
    file = tmp_path / "settings.toml"
    file.write_text(printed.stdout)
    assert cli("config", LATENTSYNC_CONFIG=str(file)).stdout == printed.stdout
    assert "fade_frames = 3\n" in printed.stdout


def test_demo_says_that_a_key_is_missing_before_it_prepares_anything(tmp_path: Path) -> None:
    answer = cli("demo", "--host", "0.0.0.0", LATENTSYNC_DATA_DIR=str(tmp_path))
    assert answer.returncode == 1
    assert "latentsync-realtime key add NAME --scope administer" in answer.stderr
    assert answer.stdout == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("port", ["HTTP_PORT", "TRITON_GRPC_PORT"])
def test_demo_says_that_a_port_is_taken_before_it_prepares_anything(tmp_path: Path, port: str) -> None:
    ports = {name: str(free_port()) for name in ("HTTP_PORT", "TRITON_GRPC_PORT", "TRITON_METRICS_PORT")}
    with socket.create_server(("127.0.0.1", int(ports[port]))):
        environment = {"DATA_DIR": str(tmp_path), **ports}
        answer = cli("demo", **{f"LATENTSYNC_{name}": value for name, value in environment.items()})
    assert answer.returncode == 1
    assert f"127.0.0.1:{ports[port]}" in answer.stderr and "stop what listens there" in answer.stderr
    assert answer.stdout == "" and "Traceback" not in answer.stderr


def test_config_hides_the_stream_key() -> None:
    assert "s3cret" not in cli("config", LATENTSYNC_RTMP_URL="rtmp://live.example/app/s3cret").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve"], "avatar add"),
        (["triton"], "latentsync-realtime export"),
        (["avatar", "remove", "nobody"], "no avatar 'nobody'"),
        (["avatar", "motion", "list", "--avatar", "nobody"], "no avatar 'nobody'"),
        (["avatar", "motion", "remove", "wave", "--avatar", "nobody"], "no avatar 'nobody'"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    settings = settings_in(tmp_path)
    folders = {"DATA_DIR": settings.data_dir, "CHECKPOINT_DIR": settings.checkpoint_dir}
    answer = cli(*arguments, **{f"LATENTSYNC_{name}": str(folder) for name, folder in folders.items()})
    assert answer.returncode == 1
    assert said in answer.stderr and "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["avatar", "remove", "anan"],
        ["avatar", "rename", "anan", "bella"],
        ["avatar", "motion", "list", "--avatar", "anan"],
        ["avatar", "preview", "anan", "--output", "p.png"],
        ["serve"],
        ["render", "--audio", __file__, "--output", "speech.mp4"],
    ],
)
def test_mistyped_avatar_names_those_that_there_are(tmp_path: Path, arguments: list[str]) -> None:
    settings = settings_in(tmp_path)
    for name in ("bert", "anna"):
        write_avatar(settings.avatars_dir, name)
    folders = {"DATA_DIR": str(settings.data_dir), "CHECKPOINT_DIR": str(settings.checkpoint_dir), "AVATAR": "anan"}
    answer = cli(*arguments, **{f"LATENTSYNC_{name}": value for name, value in folders.items()})
    assert answer.returncode == 1, answer.stderr
    assert "'anan'" in answer.stderr and "there is anna, bert" in answer.stderr and "Traceback" not in answer.stderr


def test_picture_of_an_avatar_is_png_or_jpg(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir, "anna")
    picture = tmp_path / "anna.txt"
    answer = cli("avatar", "preview", "anna", "--output", str(picture), LATENTSYNC_DATA_DIR=str(settings.data_dir))
    assert answer.returncode == 1 and not picture.exists()
    assert f"{picture} must end with .png or .jpg" in answer.stderr and "Traceback" not in answer.stderr


@pytest.mark.parametrize(("output", "named"), [("x.avi", "x.mp4"), ("folder/x", "folder/x.mp4")])
def test_render_writes_mp4_alone(output: str, named: str) -> None:
    answer = cli("render", "--audio", __file__, "--output", output, COLUMNS="200")
    assert answer.returncode == 2
    assert f"{output} must end with .mp4" in answer.stderr and f"as {named}" in answer.stderr


@pytest.mark.parametrize(
    ("option", "value", "setting", "most"),
    [("--steps", "999", "max_steps", "50"), ("--guidance", "7.5", "max_guidance", "5")],
)
def test_render_computes_no_more_than_a_task_may(
    tmp_path: Path, option: str, value: str, setting: str, most: str
) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir, "demo")
    folders = {"DATA_DIR": str(settings.data_dir), "CHECKPOINT_DIR": str(settings.checkpoint_dir)}
    environment = {f"LATENTSYNC_{name}": value for name, value in folders.items()}
    answer = cli("render", "--audio", __file__, "--output", str(tmp_path / "x.mp4"), option, value, **environment)
    assert answer.returncode == 1
    assert f"{option} is {value} and may be {most} at most; the setting {setting} allows more" in answer.stderr

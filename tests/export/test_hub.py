"""The official weights come from the hub: pinned, resumed, checked against what is known, and recorded.

The hub is a stand-in on this machine that speaks the few addresses of the real one that are needed.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.hub import hub_files
from latentsync.checkpoint import Checkpoint
from latentsync.published import PUBLISHED, PublishedUNet
from tests.support.checkout import ROOT
from tests.support.hub_server import Hub, running_hub

REPOSITORY, REVISION = "someone/weights", "0123456789abcdef0123456789abcdef01234567"
CONTENT = bytes(range(256)) * 120_000  # more than the library holds back before it writes
UNET = (REPOSITORY, REVISION, "unet.pt")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        running.files[UNET] = CONTENT
        yield running


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    write_manifest(folder)
    return folder


def write_manifest(folder: Path, **changes: str) -> None:
    file = {"member": "unet.pt", "target": "official/unet.pt", **changes}
    entry = {
        "source": "huggingface",
        "repository": REPOSITORY,
        "revision": REVISION,
        "licence": "free",
        "files": [file],
    }
    (folder / "manifest.json").write_text(json.dumps({"official": [entry], "demo": []}))


def fetch(checkpoints: Path, hub_url: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: huggingface_hub reads its environment once."""
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": hub_url,
        "HF_HOME": str(checkpoints.parent / "hf"),
        "HF_HUB_ETAG_TIMEOUT": "3",
    }
    (checkpoints / "demo").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "orchestrator.cli", "fetch", "official", "--checkpoint", str(checkpoints / "demo")]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120)


def record(checkpoints: Path) -> dict[str, str]:
    values: dict[str, str] = json.loads((checkpoints / "fetched.json").read_text())["official/unet.pt"]
    return values


def test_a_file_is_fetched_checked_and_recorded(checkpoints: Path, hub: Hub) -> None:
    answer = fetch(checkpoints, hub.url)
    assert answer.returncode == 0, answer.stderr
    path = checkpoints / "official" / "unet.pt"
    assert answer.stdout.strip() == str(path)
    assert path.read_bytes() == CONTENT
    assert record(checkpoints) == {
        "source": f"{REPOSITORY}@{REVISION}/unet.pt",
        "licence": "free",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "checked_against": "the hub",
        "size": len(CONTENT),
    }
    asked = [path for _, path, _ in hub.requests if REPOSITORY in path]
    assert asked and all(REVISION in path for path in asked), "nothing but the pinned revision is asked for"


def test_what_is_there_and_intact_needs_no_hub(checkpoints: Path, hub: Hub) -> None:
    fetch(checkpoints, hub.url)
    answer = fetch(checkpoints, "http://127.0.0.1:9")
    assert answer.returncode == 0, answer.stderr
    assert "is there and intact" in answer.stderr


def test_a_damaged_file_is_fetched_again(checkpoints: Path, hub: Hub) -> None:
    fetch(checkpoints, hub.url)
    path = checkpoints / "official" / "unet.pt"
    path.write_bytes(CONTENT[:-1])
    assert fetch(checkpoints, hub.url).returncode == 0
    assert path.read_bytes() == CONTENT


def test_an_interrupted_download_goes_on_where_it_stopped(checkpoints: Path, hub: Hub) -> None:
    hub.cut_after = 25_000_000
    assert fetch(checkpoints, hub.url).returncode == 0
    assert (checkpoints / "official" / "unet.pt").read_bytes() == CONTENT
    starts = [
        int(span.removeprefix("bytes=").split("-")[0]) for verb, _, span in hub.requests if verb == "GET" and span
    ]
    assert starts and max(starts) > 0


def test_a_known_checksum_is_checked_before_anything_is_fetched(checkpoints: Path, hub: Hub) -> None:
    write_manifest(checkpoints, sha256="1" * 64)
    answer = fetch(checkpoints, hub.url)
    assert answer.returncode == 1
    assert f"has sha256 {hashlib.sha256(CONTENT).hexdigest()}, the manifest says 1111" in answer.stderr
    assert not (checkpoints / "official").exists()
    assert not [path for verb, path, _ in hub.requests if verb == "GET" and REPOSITORY in path]


def test_bytes_that_changed_on_the_way_are_not_used(checkpoints: Path, hub: Hub) -> None:
    hub.sent[UNET] = CONTENT[:-1] + b"x"
    answer = fetch(checkpoints, hub.url)
    assert answer.returncode == 1
    assert "the hub says" in answer.stderr
    assert not (checkpoints / "official").exists()


def test_a_small_file_that_nobody_vouches_for_is_not_fetched(checkpoints: Path, hub: Hub) -> None:
    hub.small.add("unet.pt")
    assert "nobody says which sha256" in fetch(checkpoints, hub.url).stderr
    write_manifest(checkpoints, sha256=hashlib.sha256(CONTENT).hexdigest())
    assert fetch(checkpoints, hub.url).returncode == 0
    assert record(checkpoints)["checked_against"] == "the manifest"


def test_a_file_that_the_hub_does_not_have_is_named(checkpoints: Path, hub: Hub) -> None:
    hub.files.clear()
    answer = fetch(checkpoints, hub.url)
    assert answer.returncode == 1
    assert f"{REPOSITORY}@{REVISION}/unet.pt is not on the hub" in answer.stderr


def test_offline_the_message_says_what_to_do(checkpoints: Path) -> None:
    answer = fetch(checkpoints, "http://127.0.0.1:9")
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert f"could not fetch {REPOSITORY}@{REVISION}/unet.pt" in answer.stderr
    assert f"copy the file to {checkpoints / 'official' / 'unet.pt'} by hand" in answer.stderr


@pytest.mark.parametrize("version", ["1.0", "1.5", "1.6"])
def test_the_manifest_of_the_repository_says_source_licence_and_place(version: str) -> None:
    name = f"latentsync-{version}"
    files = {file.target: file for file in hub_files(ROOT / "checkpoints", name)}
    assert set(files) == {f"{name}/unet.pt", f"{name}/vae.safetensors", "whisper-tiny/tiny.pt"}
    for file in files.values():
        assert len(file.revision) == 40 and file.licence
        assert file.sha256 is None or len(file.sha256) == 64
    pinned = files["whisper-tiny/tiny.pt"].sha256
    assert pinned and pinned in whisper_urls()["tiny"], "OpenAI's own"


@pytest.mark.parametrize("known", PUBLISHED)
def test_a_published_unet_is_the_one_that_the_manifest_pins(known: PublishedUNet) -> None:
    name = known.name.lower().replace(" ", "-")
    unet = next(file for file in hub_files(ROOT / "checkpoints", name) if file.member == "latentsync_unet.pt")
    assert unet.sha256 == known.sha256
    assert Checkpoint.open(ROOT / "checkpoints" / name).resolution == known.resolution


def whisper_urls() -> dict[str, str]:
    import whisper

    urls: dict[str, str] = whisper._MODELS
    return urls

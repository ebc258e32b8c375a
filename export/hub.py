"""Fetches weights from the Hugging Face hub: pinned, resumable, checked, and recorded."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.fetch import FetchError, manifest_bundle

RECORD = "fetched.json"
_DOWNLOADS = ".downloads"
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class HubFile:
    """A file of a repository of the hub, pinned by revision, and where it goes below the checkpoints folder.

    Where nobody has published a sha256, the hub's own for the pinned revision is checked instead.
    """

    repository: str
    revision: str
    licence: str
    member: str
    target: str
    sha256: str | None = None


@dataclass(frozen=True)
class Fetched:
    """The record of a file that was fetched and checked."""

    source: str
    licence: str
    sha256: str
    checked_against: str
    size: int


def fetch_bundle(checkpoints_dir: Path, bundle: str, say: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Fetches the hub's files of a bundle of `checkpoints_dir`/manifest.json; returns their paths.

    Files that are there and intact need no network. An interrupted download is resumed; a bar on stderr shows its
    progress. Every file is checked by sha256 before it is moved to its place, and recorded in fetched.json.
    Raises FetchError when the hub can't be reached, has no such file, or sent something else.
    """
    files = hub_files(checkpoints_dir, bundle)
    record = _read_record(checkpoints_dir)
    for file in files:
        path, known = checkpoints_dir / file.target, record.get(file.target)
        expected = file.sha256 or (known.sha256 if known is not None and known.source == _source(file) else None)
        if expected is not None and path.is_file() and _sha256(path) == expected:
            say(f"{file.target} is there and intact")
            continue
        say(f"{file.target} from {_source(file)} (licence: {file.licence})")
        record[file.target] = _fetch(checkpoints_dir, file)
        _write_record(checkpoints_dir, record)
    return [checkpoints_dir / file.target for file in files]


def hub_files(checkpoints_dir: Path, bundle: str) -> list[HubFile]:
    """The hub's files of a bundle of the manifest; raises FetchError for an unknown bundle."""
    return [
        HubFile(entry["repository"], entry["revision"], entry["licence"], **member)
        for entry in manifest_bundle(checkpoints_dir, bundle)
        if entry["source"] == "huggingface"
        for member in entry["files"]
    ]


def _fetch(checkpoints_dir: Path, file: HubFile) -> Fetched:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the library is imported
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is httpx's, under any name
        HfHubHTTPError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        XetDownloadError,
    )

    try:
        published = HfApi().get_paths_info(file.repository, [file.member], revision=file.revision)
        if not published:
            raise FetchError(f"{_source(file)} is not on the hub: the manifest names a file that does not exist")
        expected, against = _expected(file, published[0])
        folder = checkpoints_dir / _DOWNLOADS / file.repository.replace("/", "--")
        downloaded = Path(hf_hub_download(file.repository, file.member, revision=file.revision, local_dir=folder))
    except (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        XetDownloadError,
        HTTPError,
        OSError,
    ) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FetchError(
            f"could not fetch {_source(file)}: {reason}\n"
            "This needs huggingface.co once. Connect and run it again, it goes on where it stopped; or set HF_ENDPOINT "
            f"to a mirror; or copy the file to {checkpoints_dir / file.target} by hand."
        ) from error
    actual = _sha256(downloaded)
    if actual != expected:
        downloaded.unlink()
        raise FetchError(f"{_source(file)} came with sha256 {actual}, {against} says {expected}: not used")
    target = checkpoints_dir / file.target
    target.parent.mkdir(parents=True, exist_ok=True)
    downloaded.replace(target)
    return Fetched(_source(file), file.licence, actual, against, target.stat().st_size)


def _expected(file: HubFile, published: Any) -> tuple[str, str]:
    """The sha256 to check and its source; raises FetchError if there is none, or if two sources differ."""
    lfs = getattr(published, "lfs", None)
    of_hub = None if lfs is None else str(lfs.sha256)
    if file.sha256 is not None and of_hub is not None and file.sha256 != of_hub:
        raise FetchError(
            f"the hub's {_source(file)} has sha256 {of_hub}, the manifest says {file.sha256}: not fetched. "
            "Somebody has changed one of them."
        )
    if file.sha256 is not None:
        return file.sha256, "the manifest"
    if of_hub is not None:
        return of_hub, "the hub"
    raise FetchError(f"nobody says which sha256 {_source(file)} must have: not fetched")


def _source(file: HubFile) -> str:
    return f"{file.repository}@{file.revision}/{file.member}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _read_record(checkpoints_dir: Path) -> dict[str, Fetched]:
    try:
        values = json.loads((checkpoints_dir / RECORD).read_text(encoding="utf-8"))
        return {target: Fetched(**value) for target, value in values.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise FetchError(f"{checkpoints_dir / RECORD} is damaged ({error}): delete it, and run again") from error


def _write_record(checkpoints_dir: Path, record: dict[str, Fetched]) -> None:
    part = checkpoints_dir / f"{RECORD}.part"
    values = {target: asdict(fetched) for target, fetched in sorted(record.items())}
    part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    part.replace(checkpoints_dir / RECORD)

"""An export is complete, movable, quick the second time, and never half there."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from export.record import is_current
from export.replacing import replace_folder
from export.repository import RECORD, ExportError, export_repository, exported_from, is_of_this_version
from latentsync.checkpoint import Checkpoint, CheckpointError
from latentsync.contract import CONTRACT, ServedContract, read_contract
from latentsync.published import PublishedUNet
from tests.support.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def checkpoint_dir(tiny: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(tiny.parent, tmp_path / "checkpoints")
    return tmp_path / "checkpoints" / tiny.name


def test_an_export_has_every_model_and_no_path_of_this_machine(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"

    assert export_repository(tiny, output, device="cpu")

    assert {path.parent.name for path in output.glob("*/config.pbtxt")} == {
        "whisper",
        "vae_encoder",
        "unet",
        "vae_decoder",
        "lipsync",
    }
    for path in output.glob("*/config.pbtxt"):
        assert "$" not in path.read_text()
        assert str(tmp_path) not in path.read_text()
        assert (path.parent / "1").is_dir()
    assert Checkpoint.open(output / "unet" / ".." / "lipsync" / "1" / "checkpoint").load_whisper()


def test_several_checkpoints_are_written_with_one_whisper_and_served_by_name(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny.parent, tmp_path / "checkpoints")
    main = tmp_path / "checkpoints" / tiny.name
    other = write_tiny_checkpoint(main.parent, name="other", resolution=96, seed=1)
    output, said = tmp_path / "repository", list[str]()

    assert export_repository(main, output, further=[other], device="cpu", dtype="bf16", report=said.append)

    assert exported_from(output) == (main, other)
    weights = output / "lipsync" / "1"
    assert len(list(weights.rglob("encoder.safetensors"))) == 1
    assert Checkpoint.open(weights / "checkpoint-2").resolution == 96
    assert Checkpoint.open(weights / "checkpoint-2").load_whisper()
    decoder = (output / "vae_decoder" / "config.pbtxt").read_text()
    assert "dims: [ -1, 4, -1, -1 ]" in decoder
    assert "unet of other" in said[0]
    assert not export_repository(main, output, further=[other], device="cpu", dtype="bf16"), "it is up to date"
    assert export_repository(main, output, device="cpu", dtype="bf16"), "without the other it is another one"
    assert exported_from(output) == (main,)


def test_checkpoints_that_cannot_share_a_server_are_refused(checkpoint_dir: Path, tmp_path: Path) -> None:
    other = write_tiny_checkpoint(checkpoint_dir.parent, name="other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"name": "tiny"}))
    with pytest.raises(ExportError, match=r"need different names, and these are \['tiny', 'tiny'\]"):
        export_repository(checkpoint_dir, tmp_path / "repository", further=[other], device="cpu")

    (other / "config.json").write_text(json.dumps(config | {"whisper": config["whisper"] | {"path": "another"}}))
    with pytest.raises(ExportError, match="other and tiny listen to different Whispers"):
        export_repository(checkpoint_dir, tmp_path / "repository", further=[other], device="cpu")
    assert not (tmp_path / "repository").exists()


def test_the_contract_lies_beside_the_models(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"

    export_repository(tiny, output, device="cpu")

    assert read_contract(output) == ServedContract(CONTRACT, Checkpoint.open(tiny).resolution)


def test_an_export_of_another_contract_is_made_again(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    export_repository(tiny, output, device="cpu")
    record = json.loads((output / RECORD).read_text())
    assert is_of_this_version(output)
    (output / RECORD).write_text(json.dumps(record | {"contract": record["contract"] | {"shortest_chunk_frames": 8}}))

    assert not is_of_this_version(output)
    assert export_repository(tiny, output, device="cpu")


def test_the_same_inputs_are_not_exported_twice(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    export_repository(tiny, output, device="cpu", cpu_threads=1)

    assert not export_repository(tiny, output, device="cpu", cpu_threads=1)
    assert export_repository(tiny, output, device="cpu", cpu_threads=2)


def test_changed_weights_are_exported_again(checkpoint_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    export_repository(checkpoint_dir, output, device="cpu")
    (checkpoint_dir / "unet.safetensors").touch()

    assert export_repository(checkpoint_dir, output, device="cpu")


@pytest.mark.parametrize(("resolution", "chunks"), [(256, 4), (512, 1)])
def test_a_gpu_denoises_as_many_chunks_together_as_it_gains_from(
    checkpoint_dir: Path, tmp_path: Path, resolution: int, chunks: int
) -> None:
    config, output = checkpoint_dir / "config.json", tmp_path / "repository"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"resolution": resolution}))
    export_repository(checkpoint_dir, output, device="cuda")

    for model in ("unet", "vae_decoder", "lipsync"):
        assert f"max_batch_size: {chunks}\n" in (output / model / "config.pbtxt").read_text()


def test_the_configuration_says_what_was_asked_for(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"

    export_repository(
        tiny, output, device="cuda", dtype="bfloat16", cpu_threads=3, instances={"vae_decoder": 2}, unet_batch=8
    )

    unet, decoder = ((output / model / "config.pbtxt").read_text() for model in ("unet", "vae_decoder"))
    assert "instance_group [ { count: 1 kind: KIND_GPU } ]" in unet
    assert "instance_group [ { count: 2 kind: KIND_GPU } ]" in decoder
    assert "max_batch_size: 8" in unet
    assert 'parameters { key: "dtype" value { string_value: "bfloat16" } }' in unet
    assert 'parameters { key: "cpu_threads" value { string_value: "3" } }' in decoder
    assert "dims: [ -1, 64, 64, 3 ]" in decoder


def test_large_faces_are_encoded_in_smaller_batches(checkpoint_dir: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoint_dir / "config.json").read_text())
    for resolution, batch in ((256, 16), (512, 4)):
        (checkpoint_dir / "config.json").write_text(json.dumps(config | {"resolution": resolution}))
        export_repository(checkpoint_dir, tmp_path / "repository", device="cuda")
        encoder, decoder = (
            (tmp_path / "repository" / f"vae_{way}" / "config.pbtxt").read_text() for way in ("encoder", "decoder")
        )
        assert f"max_batch_size: {batch}\n" in encoder
        assert f"dims: [ -1, {resolution}, {resolution}, 3 ]" in decoder


def test_a_published_unet_brings_its_resolution_and_is_not_exported_at_another(
    checkpoint_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (checkpoint_dir / "unet.safetensors").read_bytes()
    known = PublishedUNet("LatentSync 9", 128, len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr("latentsync.published.PUBLISHED", (known,))
    with pytest.raises(CheckpointError, match="made for faces of 128 pixels"):
        export_repository(checkpoint_dir, tmp_path / "repository", device="cuda")
    config = json.loads((checkpoint_dir / "config.json").read_text())
    del config["resolution"]
    (checkpoint_dir / "config.json").write_text(json.dumps(config))
    export_repository(checkpoint_dir, tmp_path / "repository", device="cuda")
    monkeypatch.setattr("latentsync.published.PUBLISHED", ())
    assert Checkpoint.open(tmp_path / "repository" / "lipsync" / "1" / "checkpoint").resolution == 128


def test_weights_in_a_pt_file_become_safetensors(checkpoint_dir: Path, tmp_path: Path) -> None:
    tensors = load_file(checkpoint_dir / "unet.safetensors")
    (checkpoint_dir / "unet.safetensors").unlink()
    torch.save({"global_step": 1, "state_dict": tensors}, checkpoint_dir / "unet.pt")
    output = tmp_path / "repository"

    export_repository(checkpoint_dir, output, device="cpu")

    exported = load_file(output / "lipsync" / "1" / "checkpoint" / "unet.safetensors")
    assert exported.keys() == tensors.keys()
    assert all(torch.equal(exported[name], tensor) for name, tensor in tensors.items())


def test_a_failed_export_leaves_the_old_one(checkpoint_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    export_repository(checkpoint_dir, output, device="cpu")
    record = (output / "export.json").read_text()
    (checkpoint_dir / "vae.safetensors").write_bytes(b"truncated")

    with pytest.raises(CheckpointError, match=r"vae\.safetensors"):
        export_repository(checkpoint_dir, output, device="cpu")

    assert (output / "export.json").read_text() == record
    assert [path.name for path in tmp_path.iterdir() if "repository" in path.name] == ["repository"]


def test_a_folder_of_somebody_else_is_not_replaced(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()

    with pytest.raises(ExportError, match="not written by an export"):
        export_repository(tiny, tmp_path, device="cpu")

    assert (tmp_path / "holiday.jpg").exists()


def test_missing_weights_are_named_with_the_command_that_fetches_them(checkpoint_dir: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkpoint_dir.parent / "whisper-tiny")

    with pytest.raises(ExportError, match=r"whisper-tiny holds none of encoder\.safetensors, tiny\.pt.*fetch"):
        export_repository(checkpoint_dir, tmp_path / "repository", device="cpu")


def test_a_whisper_folder_outside_the_checkpoints_is_refused(checkpoint_dir: Path, tmp_path: Path) -> None:
    path = checkpoint_dir / "config.json"
    config = json.loads(path.read_text())
    config["whisper"]["path"] = "../elsewhere"
    path.write_text(json.dumps(config))

    with pytest.raises(ExportError, match=r"whisper\.path"):
        export_repository(checkpoint_dir, tmp_path / "repository", device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instances": {"vae": 1}}, "instances names vae; the models are whisper"),
        ({"instances": {"unet": 0}}, "instances of unet is 0"),
        ({"cpu_threads": 0}, "cpu_threads is 0"),
        ({"engine": "tensorrt"}, "engine is 'tensorrt', expected auto, eager, compile, aot, fused"),
        ({"engine": "fused"}, "fused runs on NVIDIA GPUs only"),
        ({"solver": "euler"}, "solver is 'euler', expected ddim or dpm"),
        ({"reuse": 0}, "reuse is 0"),
        ({"dtype": "int8"}, "dtype is 'int8', expected one of .*bf16"),
    ],
)
def test_impossible_options_are_named(tiny: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export_repository(tiny, tmp_path / "repository", device="cpu", **options)


@pytest.mark.parametrize(("short", "served"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_the_table_says_how_far_each_stage_is_from_float32(tiny: Path, tmp_path: Path, short: str, served: str) -> None:
    said: list[str] = []

    export_repository(tiny, tmp_path / "repository", device="cpu", dtype=short, report=said.append)

    assert f'value {{ string_value: "{served}" }}' in (tmp_path / "repository" / "unet" / "config.pbtxt").read_text()
    rows = json.loads((tmp_path / "repository" / "lipsync" / "1" / "parity.json").read_text())
    assert [row["stage"] for row in rows] == ["whisper", "vae_encoder", "unet", "vae_decoder"]
    assert all(row["stage"] in said[0] for row in rows)
    for row in rows:
        shorter = short == "bf16"
        assert row["dtype"] == (served if shorter else "float32")
        # Where the type is the same, what is left is the order of additions.
        assert (0 < row["relative_error"] < 0.05) if shorter else row["relative_error"] < 1e-5


def test_weights_that_overflow_leave_the_old_repository(checkpoint_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    said: list[str] = []
    export_repository(checkpoint_dir, output, device="cpu", dtype="fp32")
    record = (output / "export.json").read_text()
    tensors = load_file(checkpoint_dir / "unet.safetensors")
    tensors["conv_in.weight"] *= 1e6
    save_file(tensors, checkpoint_dir / "unet.safetensors")

    with pytest.raises(ExportError, match="unet gives values that are not finite as float16: export with another"):
        export_repository(checkpoint_dir, output, device="cpu", dtype="fp16", report=said.append)

    assert "nan" in said[0]
    assert (output / "export.json").read_text() == record


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["compile", "aot"])
def test_compiled_graphs_are_in_the_repository_and_give_the_same(tiny: Path, tmp_path: Path, engine: str) -> None:
    output = tmp_path / "repository"

    assert export_repository(tiny, output, device="cpu", dtype="fp32", engine=engine)

    rows = {row["stage"]: row for row in json.loads((output / "lipsync" / "1" / "parity.json").read_text())}
    for stage in ("unet", "vae_decoder"):
        assert rows[stage]["engine"] == engine
        assert rows[stage]["relative_error"] < 1e-4
        assert (output / "lipsync" / "1" / "graphs" / stage / "machine.json").is_file()
        config = (output / stage / "config.pbtxt").read_text()
        assert f'parameters {{ key: "engine" value {{ string_value: "{engine}" }} }}' in config
    assert not export_repository(tiny, output, device="cpu", dtype="fp32", engine=engine), "it is up to date"


def test_graphs_for_a_gpu_that_is_not_there_are_refused(tiny: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(ExportError, match="engine compile compiles for the GPU that is there, and none is"):
        export_repository(tiny, tmp_path / "repository", device="cuda", engine="compile")


def test_a_gpu_gets_the_fused_engine_and_a_cpu_plain_pytorch(tiny: Path, tmp_path: Path) -> None:
    for device, engine in (("cuda", "fused"), ("cpu", "eager")):
        output = tmp_path / device
        export_repository(tiny, output, device=device, solver="dpm++", reuse=3)
        config = (output / "unet" / "config.pbtxt").read_text()
        for key, value in (("engine", engine), ("solver", "dpm++"), ("reuse", "3")):
            assert f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' in config


def test_kernels_of_another_gpu_are_made_anew_and_those_of_a_gpu_that_is_not_here_are_kept(
    tiny: Path, tmp_path: Path
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    output = tmp_path / "repository"
    assert export_repository(tiny, output, device="cuda"), "without a GPU, and so without kernels"
    record = json.loads((output / RECORD).read_text())
    assert "fused/kernels/winograd_4x4.py" in record["sources"]
    record["weights"]["compiled for"] = ["2.11.0", "NVIDIA H100 80GB HBM3"]
    (output / RECORD).write_text(json.dumps(record))
    assert not export_repository(tiny, output, device="cuda"), "an export without a GPU has none to offer"
    other = record | {"weights": record["weights"] | {"compiled for": ["2.11.0", "NVIDIA A100"]}}
    assert not is_current(record, other)
    assert is_current(record, record)


@pytest.mark.parametrize("record", ["{}", "[]", "null", '{"options": {}}'])
def test_a_record_that_says_nothing_is_of_no_current_export(tiny: Path, tmp_path: Path, record: str) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / RECORD).write_text(record)
    assert export_repository(tiny, tmp_path / "repository", device="cpu")


def test_packages_that_end_the_process_are_refused_on_a_gpu(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="take fused there"):
        export_repository(tiny, tmp_path / "repository", device="cuda", engine="aot")


def test_a_folder_is_exchanged_in_one_step(tmp_path: Path) -> None:
    for name in ("fresh", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_folder(tmp_path / "fresh", tmp_path / "target")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["fresh"]
    assert [path.name for path in (tmp_path / "fresh").iterdir()] == ["target"]
    replace_folder(tmp_path / "fresh", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "target"]

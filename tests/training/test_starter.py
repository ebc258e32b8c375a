"""The starter's training at a tiny size: losses fall, runs go on where the last one ended, and the product reads it."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("soundfile", reason="the extra `training` is not installed")

from latentsync.checkpoint import Checkpoint
from training.people.pace import Pace
from training.starter import state
from training.starter.pictures import PictureSampler, faces_of, take_paths
from training.starter.run import Budget, backward, run
from training.starter.sizes import SIZES, Sizes
from training.starter.state import Progress
from training.starter.takes import CHUNK, Speech, Takes, draw_batch
from training.starter.train_unet import SeenLoss, load_vae, psnr_of_one_step_db
from training.starter.train_unet import train as train_unet
from training.starter.train_vae import psnr_in_mask_db
from training.starter.train_vae import train as train_vae
from training.starter.variety import varied
from training.starter.write_checkpoint import read, write

TINY = SIZES["tiny"]
FRAMES = 20


def budget(steps: int) -> Budget:
    return Budget(run_s=600, total_s=1200, rate=3e-3, most_steps=steps, warm_up_steps=5)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of a network this small wait for each other for longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes of three drawn "people": a coloured ground with a dark mouth that is as open as the frame's number says."""
    folder, side = tmp_path_factory.mktemp("people"), TINY.resolution
    rows, columns = np.mgrid[0:side, 0:side] / side
    for person in (1, 2, 20):
        colour = np.random.default_rng(person).uniform(90, 220, 3)
        idle = np.broadcast_to(colour * (0.7 + 0.3 * rows[..., None]), (FRAMES, side, side, 3)).astype(np.uint8)
        talking = idle.copy()
        for frame, face in enumerate(talking):
            open_ = 0.02 + 0.10 * (frame % 5) / 5
            face[((columns - 0.5) / 0.15) ** 2 + ((rows - 0.65) / open_) ** 2 < 1] = (40, 10, 10)
        with (folder / f"{person:06d}-0.npz").open("wb") as file:
            np.savez(file, talking=talking, idle=idle, clip="a", first_frame=3)
    return folder


@pytest.fixture(scope="module")
def speech() -> Speech:
    """Features that say how open the mouth is, of a clip with a margin around the take."""
    opening = np.repeat((np.arange(-3, FRAMES + 1) % 5) / 5, 2)
    features = torch.from_numpy(opening)[None, :, None].expand(1, -1, 5 * 384).half()
    other = torch.full((1, 8, 5 * 384), 9.0).half()
    return Speech(torch.cat([other, features, other], 1), {"a": (8, 8 + len(opening))})


@pytest.fixture(scope="module")
def vae_state(tmp_path_factory: pytest.TempPathFactory, people: Path) -> Path:
    folder = tmp_path_factory.mktemp("state")
    torch.manual_seed(0)
    train_vae(TINY, sampler(people), folder, budget(80), "cpu")
    return folder


def sampler(people: Path) -> PictureSampler:
    photo = np.broadcast_to(np.linspace(20, 230, 90)[None, :, None], (80, 90, 3)).astype(np.uint8)
    return PictureSampler(faces_of(take_paths(people), 1), [photo], 6, 48, "cpu", 0)


def test_every_twentieth_person_is_held_out(people: Path) -> None:
    assert [path.name for path in take_paths(people)] == ["000001-0.npz", "000002-0.npz"]
    assert [path.name for path in take_paths(people, held_out=True)] == ["000020-0.npz"]
    with pytest.raises(FileNotFoundError, match=r"run training\.people\.render first"):
        take_paths(people / "none")


def test_vae_learns_and_a_second_run_goes_on(vae_state: Path, people: Path, tmp_path: Path) -> None:
    faces = faces_of(take_paths(people, held_out=True), 4)
    first = Progress.read(vae_state, "vae")
    assert first.steps == 80
    early = train_vae(TINY, sampler(people), tmp_path / "short", budget(2), "cpu")
    for file in vae_state.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    resumed, left = train_vae(TINY, sampler(people), tmp_path, budget(0), "cpu"), state.load(vae_state, "vae")
    assert left is not None and all(torch.equal(value, left[key]) for key, value in resumed.state_dict().items())
    later = train_vae(TINY, sampler(people), tmp_path, budget(20), "cpu")
    second = Progress.read(tmp_path, "vae")
    assert second.steps == 100 and second.seconds > first.seconds
    assert psnr_in_mask_db(later, faces, "cpu") > psnr_in_mask_db(early, faces, "cpu") + 3


def test_a_frame_hears_its_own_sound_and_nothing_of_another_clip(vae_state: Path, people: Path, speech: Speech) -> None:
    takes = Takes.load(take_paths(people), load_vae(vae_state, "cpu"), speech, "cpu")
    batch = draw_batch(takes, speech, 64, torch.Generator().manual_seed(0))
    assert batch.audio.shape == (64, CHUNK, 50, 384) and batch.condition.shape[1] == 9
    assert batch.audio.max() < 1, "9 is another clip's"
    # Of the ten positions the fifth and the sixth are the frame's own.
    own = batch.audio.reshape(64, CHUNK, 10, 5, 384)[:, :, 4:6].amax((2, 3, 4))
    expected = (batch.row % FRAMES % 5) / 5
    heard = (own > 0) | (expected == 0)
    assert torch.allclose(own[heard], expected[heard], atol=1e-3)
    assert heard.float().mean() > 0.85, "all but the chunks without audio"


def test_a_reference_that_speaks_tells_nothing_of_what_is_heard(vae_state: Path, people: Path, speech: Speech) -> None:
    takes = Takes.load(take_paths(people), load_vae(vae_state, "cpu"), speech, "cpu")
    batch = draw_batch(takes, speech, 200, torch.Generator().manual_seed(0))
    resting = takes.latents[2][batch.row].float().transpose(1, 2)
    other = (batch.condition[:, 5:] - resting).abs().amax((1, 2, 3, 4)) > 1e-3
    assert 0.1 < other.float().mean() < 0.3
    assert not torch.equal(batch.condition[other, 5:], batch.target[other])


def test_takes_and_faces_that_come_later_are_learned_from_too(vae_state: Path, people: Path, speech: Speech) -> None:
    paths, vae = take_paths(people), load_vae(vae_state, "cpu")
    together, grown = Takes.load(paths, vae, speech, "cpu"), Takes.load(paths[:1], vae, speech, "cpu")
    grown.add(Takes.load(paths[1:], vae, speech, "cpu"))
    for name in ("faces", "frames", "first_row", "heard_from", "span"):
        assert torch.equal(getattr(grown, name), getattr(together, name)), name
    assert torch.allclose(grown.latents.float(), together.latents.float(), atol=2e-3)
    sample = sampler(people)
    before, white = len(sample), np.full((200, TINY.resolution, TINY.resolution, 3), 255, np.uint8)
    sample.add(white)
    assert len(sample) == before + 200
    assert max(float(sample()[0][2:].mean((1, 2, 3)).max()) for _ in range(8)) > 0.99, "a white face is among them"


def test_renderers_give_way_to_a_training_that_they_slow() -> None:
    now, allowed = 0.0, [0]

    def trained(steps: int, slowed: float) -> None:
        """A step lasts 0.1 s alone, and `slowed` of that more for each renderer."""
        nonlocal now
        for _ in range(steps):
            now += 0.1 * (1 + slowed * allowed[-1])
            pace.step()

    pace = Pace(allowed.append, most=14, share=0.6, warm_up_steps=5, window_s=2, clock=lambda: now)
    assert allowed[-1] == 14, "all, until it is warm"
    trained(5, 0.1)
    assert allowed[-1] == 0, "what the training does alone is measured"
    trained(50, 0.1)
    assert allowed[-1] == 4
    trained(2000, 0.1)
    assert 2 <= allowed[-1] <= 8, "six take four tenths of its speed"
    trained(2000, 1.0)
    assert allowed[-1] == 1, "one is always left"
    trained(4000, 0.0)
    assert allowed[-1] == 14


def test_unet_learns_to_speak_in_both_stages_and_becomes_a_checkpoint(
    vae_state: Path, people: Path, speech: Speech, tmp_path: Path
) -> None:
    for file in vae_state.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    vae = load_vae(tmp_path, "cpu")
    takes = Takes.load(take_paths(people), vae, speech, "cpu")
    seen = SeenLoss(takes, vae, 4)
    torch.manual_seed(0)

    def draw(generator: torch.Generator):  # type: ignore[no-untyped-def]
        return draw_batch(takes, speech, 2, generator)

    untrained = train_unet(TINY, draw, seen, tmp_path / "short", budget(1), "cpu")
    before = latent_error(untrained, takes, speech)
    train_unet(TINY, draw, seen, tmp_path, budget(40), "cpu")
    after_base = latent_error(train_unet(TINY, draw, seen, tmp_path, budget(0), "cpu"), takes, speech)
    assert after_base < 0.9 * before, "it goes on from the state"
    unet = train_unet(TINY, draw, seen, tmp_path, budget(10), "cpu", stage="one-step")
    assert Progress.read(tmp_path, "unet").steps == 50
    assert state.about(tmp_path, "unet")["stage"] == "one-step"
    assert latent_error(unet, takes, speech) < 0.7 * before
    assert psnr_of_one_step_db(unet, vae, takes, speech, "cpu", 1).keys() == {"spoken_db", "resting_db"}

    checkpoint = tmp_path / "checkpoints" / "starter"
    write(tmp_path, checkpoint, TINY)
    opened = Checkpoint.open(checkpoint)
    assert opened.made_for == () and opened.trained_on == "rendered people"
    assert opened.resolution == TINY.resolution
    assert sum(p.numel() for p in opened.load_unet().parameters()) == sum(p.numel() for p in unet.parameters())
    opened.load_vae()

    read(checkpoint, tmp_path / "onward")
    for network in ("vae", "unet"):
        kept, again = state.load(tmp_path, network), state.load(tmp_path / "onward", network)
        assert kept is not None and again is not None
        assert all(torch.equal(kept[key], again[key]) for key in kept)
    onward = train_unet(TINY, draw, seen, tmp_path / "onward", budget(0), "cpu", stage="one-step")
    assert latent_error(onward, takes, speech) < 0.7 * before
    assert load_vae(tmp_path / "onward", "cpu").scaling_factor == vae.scaling_factor


def test_a_varied_take_has_other_colours_and_the_same_mouths(vae_state: Path, people: Path, speech: Speech) -> None:
    with np.load(take_paths(people)[0]) as take:
        clips = [torch.from_numpy(take[name]) for name in ("talking", "idle")]
    generator = torch.Generator().manual_seed(3)
    talking, idle = varied(clips, generator)
    assert talking.dtype == torch.uint8 and talking.shape == clips[0].shape
    assert (talking.float() - clips[0].float()).abs().mean() > 4, "it looks otherwise"

    def opened(speaking: torch.Tensor, resting: torch.Tensor) -> np.ndarray:  # type: ignore[type-arg]
        """How much of each frame differs from its face at rest."""
        return ((speaking.float() - resting.float()).abs().amax(-1) > 20).float().mean((1, 2)).numpy()

    assert np.corrcoef(opened(talking, idle), opened(*clips))[0, 1] > 0.98, "and speaks the same"
    vae = load_vae(vae_state, "cpu")
    plain = Takes.load(take_paths(people), vae, speech, "cpu")
    both = Takes.load(take_paths(people), vae, speech, "cpu", generator)
    assert len(both.frames) == 2 * len(plain.frames) and len(both.faces) == both.latents.shape[1]
    assert torch.equal(both.faces[:FRAMES], plain.faces[:FRAMES])
    assert not torch.equal(both.faces[FRAMES : 2 * FRAMES], plain.faces[:FRAMES])
    assert torch.equal(both.heard_from[::2], both.heard_from[1::2]), "a take's two views say the same"


@torch.inference_mode()
def latent_error(unet: torch.nn.Module, takes: Takes, speech: Speech) -> float:
    """Mean square of what a single step misses, in latents of unit deviation."""
    batch = draw_batch(takes, speech, 2, torch.Generator().manual_seed(5))
    noise = torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(6))[:, :, :1]
    given = torch.cat([noise.expand_as(batch.target), batch.condition], 1)
    missed = unet(given, torch.full((2,), 999), batch.audio) - batch.target
    return float(missed.square().mean())


def test_state_is_split_and_an_interrupted_write_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LARGEST_BYTES", 1000)
    weights = {f"w{n}": torch.full((300,), float(n)) for n in range(5)}
    state.save(tmp_path, "unet", weights, Progress(1.0, 10, 0.5))
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 5 and max(file.stat().st_size for file in files) < 1200
    loaded = state.load(tmp_path, "unet")
    assert loaded is not None and torch.equal(loaded["w3"], weights["w3"])

    def interrupted(*_: object, **__: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(json, "dumps", interrupted)
        state.save(tmp_path, "unet", {"w0": torch.zeros(3)}, Progress(2.0, 20))
    assert Progress.read(tmp_path, "unet").steps == 10
    assert state.load(tmp_path, "unet") is not None
    state.save(tmp_path, "unet", {"w0": torch.zeros(3)}, Progress(3.0, 30))
    assert len([file for file in tmp_path.glob("*.safetensors") if "-10-" in file.name]) == 0


def test_the_rate_falls_over_all_runs_and_a_run_ends_in_time() -> None:
    now = 0.0

    def clock() -> float:
        return now

    network = torch.nn.Linear(1, 1)
    rates: list[float] = []

    def step() -> torch.Tensor:
        nonlocal now
        now += 1
        return network(torch.ones(1, 1)).square().sum()  # type: ignore[no-any-return]

    for before in (0.0, 900.0):
        saved: list[Progress] = []
        torch.manual_seed(0)
        start = network.weight.item()
        keep = partial(_keep, saved)
        _, progress = run(network, backward(network, step), Progress(before, 5), Budget(400, 1300, 1e-3), keep, clock)
        rates.append(abs(network.weight.item() - start))
        assert progress.steps == 405 and progress.seconds == before + 400
        assert len(saved) == 4, "every two minutes, and at the end"
    assert rates[1] < 0.5 * rates[0]


def _keep(saved: list[Progress], _: torch.nn.Module, progress: Progress) -> None:
    saved.append(progress)


def test_sizes_are_refused_that_a_unet_cannot_halve() -> None:
    with pytest.raises(ValueError, match="multiple of 32, not 140"):
        Sizes(140, 16, (16, 16, 32))

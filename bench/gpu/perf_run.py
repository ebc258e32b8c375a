"""`bench perf-analyzer`: a tritonserver, requests of real chunks, and perf_analyzer on each model that is asked for."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.gpu.chunks import ENSEMBLE, UNET, ChunkSet
from bench.gpu.perf_analyzer import PerfRun, find_perf_analyzer, run_perf_analyzer
from bench.gpu.perf_data import PERF_MODELS, data_file, write_perf_data
from bench.gpu.served import (
    BenchSources,
    Report,
    bench_avatar,
    bench_chunks,
    exported_repository,
    served_checkpoint,
    triton_on,
)
from bench.gpu.speech import bench_speech
from inference.transport import Inputs, TensorTransport, connect
from orchestrator.settings import Settings, SettingsError
from orchestrator.triton_secret import triton_settings

_LATENT_REQUESTS = 4
_READY_LIMIT_S = 300.0


@dataclass(frozen=True)
class PerfPlan:
    """Steps and guidance (None: the checkpoint's own), and how perf_analyzer loads which models."""

    steps: int | None
    guidance: float | None
    speech_s: float = 5.0
    models: tuple[str, ...] = (ENSEMBLE,)
    concurrency: str = "1:8"
    window_ms: int = 8000
    shared_memory: bool = True
    timeout_s: float = 480.0

    def __post_init__(self) -> None:
        unknown = set(self.models) - set(PERF_MODELS)
        if unknown:
            raise SettingsError(
                f"--models names {', '.join(sorted(unknown))} and must be some of {', '.join(PERF_MODELS)}"
            )


async def perf_data(
    settings: Settings, sources: BenchSources, plan: PerfPlan, url: str, folder: Path, report: Report
) -> list[PerfRun]:
    """Writes the request files into `folder`; returns how perf_analyzer is called with them on the Triton at `url`.

    Raises what export, tritonserver and the requests raise.
    """
    async with _served(settings, sources, plan, folder, report) as chunks:
        return [perf_run(url, plan, model, chunks.faces().nbytes, folder) for model in plan.models]


async def perf_analyzer(
    settings: Settings, sources: BenchSources, plan: PerfPlan, binary: Path | None, folder: Path, report: Report
) -> dict[str, str]:
    """Runs perf_analyzer on a tritonserver of its own, with a CSV for each model in `folder`; returns what it printed.

    Raises NoPerfAnalyzer, PerfAnalyzerFailed, and what `perf_data` does.
    """
    found = find_perf_analyzer(binary, settings.run_dir)
    printed: dict[str, str] = {}
    async with _served(settings, sources, plan, folder, report) as chunks:
        for model in plan.models:
            run = perf_run(settings.triton_grpc_url, plan, model, chunks.faces().nbytes, folder)
            report(shlex.join([str(found), *run.arguments()]))
            printed[model] = await asyncio.to_thread(run_perf_analyzer, found, run, settings.run_dir, plan.timeout_s)
            (folder / f"{model}.txt").write_text(printed[model], encoding="utf-8")
    return printed


def perf_run(url: str, plan: PerfPlan, model: str, face_bytes: int, folder: Path) -> PerfRun:
    """How perf_analyzer is called for a model whose requests lie in `folder`."""
    return PerfRun(
        model=model,
        url=url,
        data=data_file(folder, model),
        csv=folder / f"{model}.csv",
        concurrency=plan.concurrency,
        window_ms=plan.window_ms,
        shared_memory=plan.shared_memory,
        face_bytes=face_bytes,
    )


@asynccontextmanager
async def _served(
    settings: Settings, sources: BenchSources, plan: PerfPlan, folder: Path, report: Report
) -> AsyncIterator[ChunkSet]:
    """A tritonserver, with the request files written."""
    repository = sources.repository or exported_repository(settings, sources.export, report)
    checkpoint = served_checkpoint(repository)
    speech = await bench_speech(sources.audio, plan.speech_s)
    report("starting Triton")
    async with triton_on(settings, repository, _READY_LIMIT_S, protected=False):  # perf_analyzer sends no gRPC headers
        avatar = await bench_avatar(settings, checkpoint, sources.faces_dir, sources.video, report)
        chunks = await bench_chunks(settings, checkpoint, avatar, speech)
        steps = plan.steps or checkpoint.scheduler.default_steps
        guidance = plan.guidance or checkpoint.scheduler.default_guidance
        latents = await _latents(settings, chunks, steps, guidance)
        write_perf_data(folder, chunks, latents, steps, guidance)
        report(f"{folder}: {chunks.origin}")
        yield chunks


async def _latents(settings: Settings, chunks: ChunkSet, steps: int, guidance: float) -> list[Inputs]:
    """Requests of the decoder: what the UNet makes of the first chunks."""
    triton = triton_settings(settings)
    client = connect(triton)
    transport = TensorTransport(client, triton)
    try:
        made = [
            await transport.infer(UNET, chunk.inputs(steps, guidance), chunks.latents())
            for chunk in chunks.chunks[:_LATENT_REQUESTS]
        ]
    finally:
        await transport.aclose()
        await client.close()
    # Drawn weights may make what is no number, which the decoder refuses.
    return [{"LATENTS": np.nan_to_num(latents)} for latents in made]

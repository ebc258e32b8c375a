"""A run of `bench gpu`: its stages one after another, each with a limit, and a record of what they found."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from bench.gpu.chunks import DECODER, UNET
from bench.gpu.emulated.repository import write_emulated
from bench.gpu.ensemble import LoadPoint, bench_models, model_bench
from bench.gpu.gpu_memory import measure_gpu_memory
from bench.gpu.gpu_watch import GpuWatch, watching_gpus
from bench.gpu.live import LivePoint, bench_live
from bench.gpu.plan import GpuPlan, Stage
from bench.gpu.product import FirstFrame, ProductBench, bench_product
from bench.gpu.product_server import product_server
from bench.gpu.record import GpuBench, export_options
from bench.gpu.served import (
    AVATAR,
    BenchSources,
    Report,
    bench_avatar,
    bench_chunks,
    exported_repository,
    served_checkpoint,
    triton_on,
)
from bench.gpu.speech import Speech, bench_speech
from bench.machine import this_machine
from inference.client import TritonClient
from inference.launcher import TritonServer
from inference.transport import connect
from latentsync.avatar import PreparedAvatar
from latentsync.checkpoint import Checkpoint
from orchestrator.settings import Settings
from orchestrator.triton_secret import triton_settings
from speech.audio.decoder import ffmpeg_binary

logger = logging.getLogger(__name__)

_MODELS = ("whisper", "vae_encoder", UNET, DECODER)


async def bench_gpu(
    settings: Settings,
    sources: BenchSources,
    plan: Callable[[Checkpoint], GpuPlan],
    date: datetime,
    command: str,
    report: Report,
) -> GpuBench:
    """Measures with a tritonserver and a service of its own, in `settings.data_dir`; `plan` may ask the checkpoint.

    A stage that fails or takes too long leaves the others alone, and its name in the record. Raises what export, the
    start of tritonserver and the reading of the speech raise.
    """
    began = time.monotonic()
    repository = sources.repository or exported_repository(settings, sources.export, report)
    checkpoint = served_checkpoint(repository)
    settings = settings.model_copy(update={"checkpoint_dir": checkpoint.directory})
    if sources.emulated is not None:
        repository = write_emulated(repository, settings.data_dir / "emulated", sources.emulated)
    planned = plan(checkpoint)
    speech = await bench_speech(sources.audio, planned.speech_s)
    async with watching_gpus() as gpus:
        record = GpuBench(
            date=date.isoformat(timespec="seconds"),
            command=command,
            machine=this_machine(str(settings.ffmpeg or ffmpeg_binary())),
            gpus=gpus.gpus,
            plan=planned,
            exported=export_options(repository),
            checkpoint=checkpoint.name,
            emulated=sources.emulated,
        )
        if sources.repository is None:
            record.export_s = round(time.monotonic() - began, 1)
        report("starting Triton")
        began = time.monotonic()
        async with triton_on(settings, repository, planned.limit_s(Stage.LOAD)) as server:
            record.load_s = round(time.monotonic() - began, 2)
            record.took_s[Stage.LOAD.value] = record.load_s
            run = _Run(settings, sources, planned, checkpoint, speech, server, gpus, record, report)
            await run.all_stages()
    return record


class _Run:
    """The stages after loading."""

    def __init__(
        self,
        settings: Settings,
        sources: BenchSources,
        plan: GpuPlan,
        checkpoint: Checkpoint,
        speech: Speech,
        server: TritonServer,
        gpus: GpuWatch,
        record: GpuBench,
        report: Report,
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._plan = plan
        self._checkpoint = checkpoint
        self._speech = speech
        self._server = server
        self._gpus = gpus
        self._record = record
        self._report = report
        self._avatar: PreparedAvatar | str = "no stage needed an avatar"

    async def all_stages(self) -> None:
        async with TritonClient(triton_settings(self._settings)) as client:
            self._record.triton = await client.server_version()
        if set(self._plan.stages) - {Stage.LOAD, Stage.GPU_MEMORY}:
            sources = self._sources
            self._avatar = await bench_avatar(
                self._settings, self._checkpoint, sources.faces_dir, sources.video, self._report
            )
        await self._stage(Stage.ENSEMBLE, self._ensemble)
        if {Stage.PRODUCT, Stage.LIVE} & set(self._plan.stages):
            await self._product_and_live()
        await self._stage(Stage.GPU_MEMORY, self._gpu_memory)

    async def _stage(self, stage: Stage, work: Callable[[], Awaitable[None]]) -> None:
        if stage not in self._plan.stages:
            return
        began = time.monotonic()
        try:
            # Not anyio's scope, which would cancel what a stage awaits to clean up.
            async with asyncio.timeout(self._plan.limit_s(stage)) as limit:
                await work()
        except Exception as error:  # the figures of the other stages took minutes, and are kept
            if limit.expired():
                self._record.cut_off.append(stage.value)
                self._report(f"{stage.value}: cut off after {self._plan.limit_s(stage):g} s")
            else:
                logger.exception("stage %s", stage.value)
                self._record.failures[stage.value] = f"{type(error).__name__}: {error}"
                self._report(f"{stage.value}: {error}")
        self._record.took_s[stage.value] = round(time.monotonic() - began, 1)

    async def _ensemble(self) -> None:
        chunks = await bench_chunks(self._settings, self._checkpoint, self._avatar, self._speech)
        self._record.chunks = chunks.origin
        async with model_bench(self._server, self._gpus, max(self._plan.clients)) as bench:
            await bench_models(bench, chunks, self._plan, self._found_load)

    async def _product_and_live(self) -> None:
        """Both in one service, so that it starts once."""
        if isinstance(self._avatar, str):
            for stage in {Stage.PRODUCT, Stage.LIVE} & set(self._plan.stages):
                self._record.failures[stage.value] = self._avatar
            return
        self._report("starting the service")
        try:
            async with product_server(self._settings) as service:

                async def product() -> None:
                    client = connect(triton_settings(self._settings))
                    try:
                        channel = self._settings.channel_id
                        await bench_product(service, client, channel, self._speech, self._plan, self._found_first)
                    finally:
                        await client.close()

                async def live() -> None:
                    await bench_live(
                        service, self._server.pid, AVATAR, self._speech, self._plan, self._gpus, self._found_live
                    )

                await self._stage(Stage.PRODUCT, product)
                await self._stage(Stage.LIVE, live)
        except Exception as error:  # as of a stage
            logger.exception("the service")
            self._record.failures["service"] = f"{type(error).__name__}: {error}"

    async def _gpu_memory(self) -> None:
        client = connect(triton_settings(self._settings))
        try:
            self._record.gpu_memory = await measure_gpu_memory(self._server.pid, client, list(_MODELS), self._gpus)
        finally:
            await client.close()

    def _found_load(self, point: LoadPoint) -> None:
        self._record.ensemble.append(point)
        self._report(
            f"{point.model}, {point.clients} clients: {point.frames_per_s:.1f} frames/s, {point.p50_ms} ms, "
            f"batches of {point.average_batch}"
        )

    def _found_first(self, run: FirstFrame) -> None:
        assert isinstance(self._avatar, PreparedAvatar)
        if self._record.product is None:
            avatar, speech = self._avatar, self._speech.origin
            self._record.product = ProductBench(speech, AVATAR, avatar.frame_size, avatar.resolution, [])
        self._record.product.runs.append(run)
        self._report(f"first spoken frame after {run.first_frame_ms} ms: {run.stages_ms}")

    def _found_live(self, point: LivePoint) -> None:
        self._record.live.append(point)
        self._report(
            f"{point.channels} channels: {point.late_frames} late frames, {point.spoken_share:.0%} of the time spoken, "
            f"cores {point.cores}"
        )

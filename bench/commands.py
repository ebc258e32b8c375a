"""`bench`: what this machine does, as records. The options of each bench live with it."""

from __future__ import annotations

import typer

from bench.agents.commands import bench_agents
from bench.frame_numbers.commands import bench_frame_numbers
from bench.gpu.commands import bench_gpu
from bench.gpu.perf_commands import perf_analyzer, perf_analyzer_data
from bench.live_speech.commands import bench_live_speech
from bench.load.commands import bench_load
from bench.motions.commands import bench_motions
from bench.offline_commands import bench_chunk_borders, bench_full_size, bench_paste_back, bench_render
from bench.speech_latency.commands import bench_speech_latency
from bench.stream.commands import bench_stream
from bench.talk.commands import bench_talk
from bench.webrtc.commands import bench_webrtc

bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True)
bench_app.command("gpu")(bench_gpu)
bench_app.command("perf-analyzer")(perf_analyzer)
bench_app.command("perf-analyzer-data")(perf_analyzer_data)
bench_app.command("render")(bench_render)
bench_app.command("stream")(bench_stream)
bench_app.command("webrtc")(bench_webrtc)
bench_app.command("live-speech")(bench_live_speech)
bench_app.command("speech-latency")(bench_speech_latency)
bench_app.command("talk")(bench_talk)
bench_app.command("agents")(bench_agents)
bench_app.command("load")(bench_load)
bench_app.command("frame-numbers")(bench_frame_numbers)
bench_app.command("motions")(bench_motions)
bench_app.command("paste-back")(bench_paste_back)
bench_app.command("chunk-borders")(bench_chunk_borders)
bench_app.command("full-size")(bench_full_size)

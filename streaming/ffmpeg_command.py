"""The command line of the encoder: two raw pipes in, one encode out as FLV for the targets and MP4 for the preview."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import ffmpeg

from streaming.config import FPS, SAMPLE_RATE_HZ, ChannelConfig
from streaming.encoder_steps import EncoderStep

_START_S = 1.0  # the AAC encoder's priming lies before the first frame: no timestamp becomes negative


@dataclass(frozen=True)
class EncoderPipes:
    """Descriptors that ffmpeg inherits: raw picture and sound in, FLV, preview and progress out."""

    video: int
    audio: int
    flv: int
    preview: int
    progress: int


def stream_time_s(tick: int, timeline_frames: int) -> float:
    """The time of a frame in the encoded stream, which begins anew every `timeline_frames` frames."""
    return _START_S + tick % timeline_frames / FPS


def encoder_command(
    config: ChannelConfig, width: int, height: int, pipes: EncoderPipes, first_tick: int, step: EncoderStep
) -> list[str]:
    """ffmpeg's arguments for a run that begins with frame `first_tick`; its timestamps begin there too."""
    # No `fflags nobuffer`: it discards the packets that ffmpeg read while it opened the pipe.
    low_latency = {"probesize": 32, "analyzeduration": 0}
    picture = ffmpeg.input(
        f"pipe:{pipes.video}", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}",
        framerate=f"{FPS}/{step.frame_step}",        thread_queue_size=8, **low_latency,
    ).video  # fmt: skip
    sound = ffmpeg.input(
        f"pipe:{pipes.audio}", format="s16le", ar=SAMPLE_RATE_HZ, ac=1, thread_queue_size=64, **low_latency
    ).audio
    colours = {"out_color_matrix": "bt709", "out_range": "tv"}
    if config.picture_size is None:
        if width % 2 or height % 2:
            picture = picture.filter("crop", width // 2 * 2, height // 2 * 2, 0, 0)
        out_width, out_height = _scaled((width // 2 * 2, height // 2 * 2), step.scale)
        picture = picture.filter("scale", out_width, out_height, flags="fast_bilinear", **colours)
    else:
        out_width, out_height = _scaled(config.picture_size, step.scale)
        picture = picture.filter(
            "scale", out_width, out_height, force_original_aspect_ratio="decrease", force_divisible_by=2,
            flags="bicubic", **colours,
        )  # fmt: skip
        picture = picture.filter("pad", out_width, out_height, "(ow-iw)/2", "(oh-ih)/2")
        picture = picture.filter("setsar", 1)
    picture = picture.filter("format", "yuv420p")
    flv = _tee({"f": "flv", "flvflags": "no_duration_filesize", "flush_packets": "1"}, pipes.flv)
    preview = _tee(
        {
            "f": "mp4",
            "movflags": "+empty_moov+default_base_moof+frag_keyframe",
            "frag_duration": str(config.fragment_ms * 1000),
            "flush_packets": "1",
        },
        pipes.preview,
    )
    output = ffmpeg.output(
        picture, sound, f"{flv}|{preview}", format="tee",
        output_ts_offset=f"{stream_time_s(first_tick, config.timeline_frames):.3f}",
        **_encoder_options(config, step),
    )  # fmt: skip
    output = output.global_args(
        "-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+verbose",
        "-stats_period", "1", "-progress", f"pipe:{pipes.progress}",
        # By default each filter has a thread per core, and all of them wake for a picture of a millisecond's work.
        "-filter_complex_threads", str(config.encoder_threads),
    )  # fmt: skip
    arguments: list[str] = output.compile(cmd=config.ffmpeg)
    return arguments


def _tee(options: dict[str, str], pipe: int) -> str:
    """One output of ffmpeg's tee."""
    return f"[{':'.join(f'{key}={value}' for key, value in options.items())}]pipe:{pipe}"


def _scaled(size: tuple[int, int], scale: Fraction) -> tuple[int, int]:
    """Even sides."""
    width, height = (2 * round(side * scale / 2) for side in size)
    return width, height


def _encoder_options(config: ChannelConfig, step: EncoderStep) -> dict[str, str]:
    rate = f"{config.video_bitrate_kbps}k"
    gop = str(max(1, config.gop_frames // step.frame_step))
    return {
        "c:v": "libx264",
        "preset": step.preset,
        "tune": "zerolatency",
        "bf": "0",
        "g": gop,
        "keyint_min": gop,
        "sc_threshold": "0",
        "b:v": rate,
        "minrate": rate,
        "maxrate": rate,
        "bufsize": rate,
        # Parameter sets in the stream too: a recording goes on where a run has other ones than its file's header.
        "x264-params": "nal-hrd=cbr:force-cfr=1:repeat-headers=1",
        "threads:v": str(config.encoder_threads),
        "fps_mode": "passthrough",
        "enc_time_base:v": f"1:{FPS}",  # with fewer pictures too: a run may begin between two of theirs
        "colorspace": "bt709",
        "color_primaries": "bt709",
        "color_trc": "bt709",
        "color_range": "tv",
        # The channel's own rate, which every ingest takes: nothing is resampled. Ingests and players expect stereo, and
        # two equal channels cost AAC's joint stereo next to nothing.
        "c:a": "aac",
        "ar": str(SAMPLE_RATE_HZ),
        "ac": "2",
        "b:a": "128k",
        "flags": "+global_header",
    }

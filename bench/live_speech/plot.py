"""The curve of records as an SVG: python -m bench.live_speech.plot RECORD.json… > docs/images/live-speech.svg"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.live_speech.speeches import RECORDING

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 360, 200, 52, 34, 64
_ROW = _TOP + _HEIGHT + 46
_COLOURS = {4: "#c1440e", 8: "#1b6ca8", 16: "#3a7d44"}
_DASHES = {"growing": "", "short": "5 4"}
_TRUTH_MARGIN = 0.01  # that r to the truth may lie below the whole speech's

Points = Sequence[dict[str, Any]]
_Lines = dict[tuple[str, int], list[tuple[int, float]]]


@dataclass(frozen=True)
class _Panel:
    """Lines over the look-ahead, by window and chunk, and where the goal lies; `digits` of the values are written."""

    title: str
    lines: _Lines
    goal: float
    digits: int = 3


def plot(*records: dict[str, Any]) -> str:
    """Two panels a row over the look-ahead, with a line for each chunk and window.

    Of recordings r and PSNR to the whole speech's faces, of rendered sentences r to those and to the true faces.
    Points are means over the speeches of all records.
    """
    points = [point for record in records for point in record["points"]]
    # A record without groups holds recordings only.
    recordings = [p for p in points if p.get("group", RECORDING) == RECORDING]
    panels = _of_recordings(recordings) + _of_rendered([p for p in points if p.get("to_truth")])
    width, height = 2 * (_WIDTH + _GAP) + 20, _ROW * (len(panels) // 2) + 32
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="sans-serif" font-size="11">',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *(_drawn(panel, *divmod(number, 2)) for number, panel in enumerate(panels)),
            _legend(points, height - 22),
            "</svg>\n",
        ]
    )


def _of_recordings(points: Points) -> list[_Panel]:
    if not points:
        return []
    return [
        _Panel("recordings: r of the lips' opening to the whole speech's", _means(points, "likeness", "r"), 0.98),
        _Panel("recordings: mouth's picture, dB to the whole speech's", _means(points, "likeness", "psnr_db"), 39.0, 1),
    ]


def _of_rendered(points: Points) -> list[_Panel]:
    if not points:
        return []
    whole = sum(p["whole_to_truth"]["r"] for p in points) / len(points)
    return [
        _Panel("rendered sentences: r to the whole speech's", _means(points, "likeness", "r"), 0.98),
        _Panel("rendered sentences: r to the truth", _means(points, "to_truth", "r"), whole - _TRUTH_MARGIN),
    ]


def _means(points: Points, to: str, measure: str) -> _Lines:
    values: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for point in points:
        values[point["window"], point["chunk_frames"], point["look_ahead_ms"]].append(point[to][measure])
    lines: _Lines = defaultdict(list)
    for (window, chunk, look_ahead), found in sorted(values.items()):
        lines[window, chunk].append((look_ahead, sum(found) / len(found)))
    return lines


def _drawn(panel: _Panel, row: int, column: int) -> str:
    values = [panel.goal, *(value for line in panel.lines.values() for _, value in line)]
    room = 0.05 * (max(values) - min(values)) or 0.01
    low, high = min(values) - room, max(values) + room
    last = max(at for line in panel.lines.values() for at, _ in line) or 1
    left, top = _LEFT + column * (_WIDTH + _GAP), _TOP + row * _ROW

    def x(look_ahead: float) -> float:
        return left + _WIDTH * look_ahead / last

    def y(value: float) -> float:
        return top + _HEIGHT * (high - value) / (high - low)

    parts = [f'<text x="{left}" y="{top - 14}" font-size="12">{panel.title}</text>']
    for step in range(5):
        value = low + (high - low) * step / 4
        parts.append(
            f'<line x1="{left}" x2="{left + _WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e4e4e4"/>'
            f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.{panel.digits}f}</text>'
        )
    for at in sorted({at for line in panel.lines.values() for at, _ in line}):
        parts.append(f'<text x="{x(at):.1f}" y="{top + _HEIGHT + 16}" text-anchor="middle">{at}</text>')
    goal = f"{y(panel.goal):.1f}"
    parts.append(
        f'<text x="{left + _WIDTH / 2}" y="{top + _HEIGHT + 32}" text-anchor="middle">look-ahead, ms</text>'
        f'<line x1="{left}" x2="{left + _WIDTH}" y1="{goal}" y2="{goal}" stroke="#888" stroke-dasharray="1 3"/>'
        f'<text x="{left + 3}" y="{y(panel.goal) - 3:.1f}" fill="#666">goal</text>'
    )
    for (window, chunk), line in panel.lines.items():
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line)
        parts.append(f'<polyline points="{path}" fill="none" {_stroke(window, chunk)}/>')
    return "".join(parts)


def _stroke(window: str, chunk: int) -> str:
    return f'stroke="{_COLOURS[chunk]}" stroke-width="1.8" stroke-dasharray="{_DASHES[window]}"'


def _legend(points: Points, y: int) -> str:
    parts, x = [f'<text x="{_LEFT}" y="{y + 4}">window, chunk:</text>'], _LEFT + 92
    for window, chunk in sorted({(p["window"], p["chunk_frames"]) for p in points}):
        parts.append(
            f'<line x1="{x}" x2="{x + 26}" y1="{y}" y2="{y}" {_stroke(window, chunk)}/>'
            f'<text x="{x + 32}" y="{y + 4}">{window}, {chunk}</text>'
        )
        x += 116
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(plot(*(json.loads(Path(name).read_text()) for name in sys.argv[1:])))

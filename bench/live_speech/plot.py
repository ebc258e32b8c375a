"""The curve of a record as an SVG: python -m bench.live_speech.plot RECORD.json > docs/images/live-speech.svg"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.live_speech.speeches import RECORDING

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 360, 200, 52, 34, 64
_COLOURS = {4: "#c1440e", 8: "#1b6ca8", 16: "#3a7d44"}
_DASHES = {"growing": "", "short": "5 4"}
_GOALS = {"r": 0.98, "psnr_db": 39.0}
_TITLES = {"r": "lips' opening, r to the whole speech's", "psnr_db": "picture of the mouth, dB to the whole speech's"}


def plot(record: dict[str, Any]) -> str:
    """Two panels over the look-ahead, r and PSNR to the whole speech's faces; a line for each chunk and window.

    Points are means over the record's recordings, or its rendered sentences where it has no recordings.
    """
    # A record without groups holds recordings only.
    points = [p for p in record["points"] if p.get("group", RECORDING) == RECORDING] or record["points"]
    panels = [_panel(points, measure, index) for index, measure in enumerate(_GOALS)]
    width, height = 2 * (_WIDTH + _GAP) + 20, _TOP + _HEIGHT + 78
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="sans-serif" font-size="11">',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *panels,
            _legend(points, _TOP + _HEIGHT + 56),
            "</svg>\n",
        ]
    )


def _means(points: Sequence[dict[str, Any]], measure: str) -> dict[tuple[str, int], list[tuple[int, float]]]:
    values: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for point in points:
        values[point["window"], point["chunk_frames"], point["look_ahead_ms"]].append(point["likeness"][measure])
    lines: dict[tuple[str, int], list[tuple[int, float]]] = defaultdict(list)
    for (window, chunk, look_ahead), found in sorted(values.items()):
        lines[window, chunk].append((look_ahead, sum(found) / len(found)))
    return lines


def _panel(points: Sequence[dict[str, Any]], measure: str, index: int) -> str:
    lines, goal = _means(points, measure), _GOALS[measure]
    values = [value for line in lines.values() for _, value in line]
    room = 0.05 * (max(*values, goal) - min(*values, goal)) or 0.01
    low, high = min(*values, goal) - room, max(*values, goal) + room
    last = max(at for line in lines.values() for at, _ in line) or 1
    left = _LEFT + index * (_WIDTH + _GAP)

    def x(look_ahead: float) -> float:
        return left + _WIDTH * look_ahead / last

    def y(value: float) -> float:
        return _TOP + _HEIGHT * (high - value) / (high - low)

    digits = 3 if measure == "r" else 1
    parts = [f'<text x="{left}" y="{_TOP - 14}" font-size="12">{_TITLES[measure]}</text>']
    for step in range(5):
        value = low + (high - low) * step / 4
        parts.append(
            f'<line x1="{left}" x2="{left + _WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e4e4e4"/>'
            f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.{digits}f}</text>'
        )
    for at in sorted({at for line in lines.values() for at, _ in line}):
        parts.append(f'<text x="{x(at):.1f}" y="{_TOP + _HEIGHT + 16}" text-anchor="middle">{at}</text>')
    parts.append(
        f'<text x="{left + _WIDTH / 2}" y="{_TOP + _HEIGHT + 32}" text-anchor="middle">look-ahead, ms</text>'
        f'<line x1="{left}" x2="{left + _WIDTH}" y1="{y(goal):.1f}" y2="{y(goal):.1f}" stroke="#888" '
        f'stroke-dasharray="1 3"/><text x="{left + 3}" y="{y(goal) - 3:.1f}" fill="#666">goal</text>'
    )
    for (window, chunk), line in lines.items():
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line)
        parts.append(f'<polyline points="{path}" fill="none" {_stroke(window, chunk)}/>')
    return "".join(parts)


def _stroke(window: str, chunk: int) -> str:
    return f'stroke="{_COLOURS[chunk]}" stroke-width="1.8" stroke-dasharray="{_DASHES[window]}"'


def _legend(points: Sequence[dict[str, Any]], y: int) -> str:
    parts, x = [], _LEFT
    for window, chunk in sorted({(p["window"], p["chunk_frames"]) for p in points}):
        parts.append(
            f'<line x1="{x}" x2="{x + 26}" y1="{y}" y2="{y}" {_stroke(window, chunk)}/>'
            f'<text x="{x + 32}" y="{y + 4}">{window}, {chunk}</text>'
        )
        x += 124
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(plot(json.loads(Path(sys.argv[1]).read_text())))

"""Kokoro in a process of its own: `python -m conversation.synthesis.kokoro_process <folder> <threads> <voice>`."""

from __future__ import annotations

import sys
from pathlib import Path

from conversation.synthesis.kokoro_model import KokoroModel
from conversation.synthesis.sound_answers import answer_all


def main() -> None:
    """Answer one question after another, until the input ends."""
    folder, threads, voice = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    answer_all(KokoroModel(folder, threads).say, ("您好。Hello." if voice[0] == "z" else "Hello.", voice))


if __name__ == "__main__":
    main()

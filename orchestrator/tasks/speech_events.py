"""What the generation of a speech tells of it, noted in its task."""

from __future__ import annotations

from orchestrator.tasks.board import TaskBoard
from orchestrator.tasks.task import Stage
from speech.events import (
    ChunkRequested,
    FacesMade,
    FeaturesReady,
    HandedOver,
    LengthKnown,
    SoundPlaced,
    SpeechEvent,
)


async def note(board: TaskBoard, task_id: str, event: SpeechEvent) -> None:
    """Update a task by an event of its speech; a task that is over stays as it is."""
    match event:
        case LengthKnown(frames):
            board.progress(task_id, frames_total=frames)
        case FeaturesReady():
            board.stamp(task_id, Stage.FEATURES)
        case ChunkRequested():
            board.stamp(task_id, Stage.FIRST_CHUNK)
        case FacesMade(frames):
            board.stamp(task_id, Stage.FIRST_FACE, once=True)
            board.progress(task_id, frames_generated=frames)
        case SoundPlaced(shown, heard):
            board.place_sound(task_id, shown, heard)
        case HandedOver():
            board.stamp(task_id, Stage.HANDED_OVER)

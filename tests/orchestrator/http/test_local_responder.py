"""A channel that answers by a language model of a local folder, and settings that name none."""

from pathlib import Path

import pytest

from orchestrator.conversations.local_parts import open_local_parts
from orchestrator.settings import SettingsError, load_settings
from orchestrator.synthesis import open_synthesiser
from tests.support.talk_client import talking, talking_server
from tests.support.tiny_onnx import mean_network

pytest.importorskip("transformers", reason="the extra transformers is not installed")

from tests.support.chat_model import write_chat_model


async def test_model_of_a_folder_answers_on_a_channel(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "model", "It is noon now.")
    settings = {"responder": "transformers", "responder_folder": folder, "responder_timeout_s": 100.0}
    async with talking_server(tmp_path / "var", **settings) as server, talking(server) as talk:
        for turn in (1, 2):
            await talk.say("What time is it?")
            heard = await talk.until("heard")
            assert (heard["turn"], heard["text"]) == (turn, "It is noon now."), talk.told


def test_folders_that_are_missing_or_wrong_are_refused_at_start_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="responder_folder: is not set"):
        open_local_parts(load_settings(responder="transformers"))
    with pytest.raises(SettingsError, match=r"responder_folder: .* has no config\.json"):
        open_local_parts(load_settings(responder_folder=tmp_path))
    network = tmp_path / "other.onnx"
    network.write_bytes(mean_network("sound", [1, 8]))
    with pytest.raises(SettingsError, match=r"turn_detector: .* is no Smart Turn 3"):
        open_local_parts(load_settings(turn_detector=network))
    with pytest.raises(SettingsError, match="synthesiser_folder: is not set"):
        open_synthesiser(load_settings(synthesiser="kokoro"))

"""Blending two trainings of a network."""

import pytest
import torch

from training.blend import blended

AUDIO = "mid_block.attentions.0.transformer_blocks.0.audio_cross_attn.attn.to_out.0.weight"


def test_weights_lie_between_the_two_and_the_audio_is_raised() -> None:
    before = {"conv_in.weight": torch.tensor([0.0, 4.0]), AUDIO: torch.tensor([2.0])}
    after = {"conv_in.weight": torch.tensor([4.0, 0.0]), AUDIO: torch.tensor([4.0])}
    mixed = blended(before, after, share=0.25, audio=2.0)
    assert mixed["conv_in.weight"].tolist() == [1.0, 3.0]
    assert mixed[AUDIO].tolist() == [5.0]
    assert mixed[AUDIO].dtype == torch.float16


def test_networks_of_another_shape_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"conv_out\.bias"):
        blended({"conv_out.bias": torch.zeros(1)}, {}, 0.5, 1.0)

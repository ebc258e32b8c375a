"""A language model that is a real one to `transformers`, and says what a test wants: each word has one successor."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_MARKS = ("<unk>", "<end>", "<system>", "<user>", "<assistant>")
TEMPLATE = (
    "{% for m in messages %}{{ '<' + m.role + '> ' + m.content + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def write_chat_model(folder: Path, says: str, template: str = TEMPLATE, context: int = 256) -> Path:
    """A folder as `save_pretrained` writes it; an answer without a full stop at its end begins again for ever.

    The hidden state is the last token, one-hot, as attention and the MLP are zero; the head maps it to its successor.
    """
    words = says.split()
    assert len(set(words)) == len(words), "each word has one successor"
    vocabulary = {token: number for number, token in enumerate((*_MARKS, *(f"▁{word}" for word in words)))}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Metaspace()
    tokens.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, unk_token="<unk>", eos_token="<end>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(_MARKS[2:])})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    size = 64
    assert len(vocabulary) <= size
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=size,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        eos_token_id=1,
        bos_token_id=None,
        pad_token_id=1,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    ids = [vocabulary[f"▁{word}"] for word in words]
    last = vocabulary["<end>"] if says.endswith(".") else ids[0]
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "norm" not in name:
                weights.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        for token, successor in zip((vocabulary["<assistant>"], *ids), (*ids, last), strict=True):
            model.lm_head.weight[successor, token] = 1.0
    model.save_pretrained(folder)
    return folder

"""A causal language model of a local folder: its chat template, what of a history fits, and text as it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)

_DEFAULT_CONTEXT = 2048  # of a model that doesn't say how much it was trained with
_LEAST_PROMPT = 16

Chat = Sequence[dict[str, str]]


class End(StrEnum):
    """Why an answer ended."""

    COMPLETE = "complete"
    TOO_LONG = "too_long"
    STOPPED = "stopped"


class _Told(TextStreamer):  # type: ignore[misc]
    """Hands on text as soon as no later token can change it: whole words, and single characters of Chinese."""

    def __init__(self, tokenizer: Any, tell: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._tell = tell

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._tell(text)


class _Unwanted(StoppingCriteria):  # type: ignore[misc]
    """Ends the answer at its next token once nobody wants it any more."""

    def __init__(self, is_unwanted: Callable[[], bool]) -> None:
        self._is_unwanted = is_unwanted

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.full((len(input_ids),), self._is_unwanted(), dtype=torch.bool, device=input_ids.device)


class ChatModel:
    """Answers one history after another, in the calling thread."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Nothing is fetched, and no code of the folder is run. On a CPU weights become float32."""
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        dtype: Any = torch.float32 if device == "cpu" else "auto"
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=dtype
        )
        self._model = model.to(device).eval()

    @torch.inference_mode()
    def answer(
        self,
        chat: Chat,
        most_tokens: int,
        temperature: float | None,
        tell: Callable[[str], None],
        is_unwanted: Callable[[], bool] = lambda: False,
    ) -> End:
        """Tell the answer to a chat, piece by piece; raises ValueError for one that can't be put into the template.

        `is_unwanted` is asked before each token. What doesn't fit into the model's context is forgotten, the oldest
        first; the prompt stays.
        """
        prompt = self._prompt(chat, most_tokens).to(self._model.device)
        sampling: dict[str, Any] = {}
        if temperature is not None:
            sampling = {"do_sample": temperature > 0}
            if temperature > 0:
                sampling["temperature"] = temperature
        made = self._model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=most_tokens,
            streamer=_Told(self._tokenizer, tell),
            stopping_criteria=StoppingCriteriaList([_Unwanted(is_unwanted)]),
            **sampling,
        )
        if is_unwanted():
            return End.STOPPED
        return End.TOO_LONG if made.shape[1] - prompt.shape[1] >= most_tokens else End.COMPLETE

    def _prompt(self, chat: Chat, most_tokens: int) -> Tensor:
        """int64 [1, n]: as many of the latest messages as leave room for the answer."""
        context = getattr(self._model.config, "max_position_embeddings", None) or _DEFAULT_CONTEXT
        room = max(_LEAST_PROMPT, context - most_tokens)
        kept = list(chat)
        while True:
            ids = self._templated(kept)
            first = 1 if kept[0]["role"] == "system" else 0
            if ids.shape[1] <= room or len(kept) - first <= 1:
                return ids
            del kept[first : first + 2]  # a question and its answer: templates want them to alternate

    def _templated(self, chat: Chat) -> Tensor:
        try:
            return self._tokens(chat)
        except TemplateError:
            # Some templates refuse a prompt: it becomes the beginning of the first question.
            if len(chat) < 2 or chat[0]["role"] != "system":
                raise
            prompt, question, *rest = chat
            first = {**question, "content": f"{prompt['content']}\n\n{question['content']}"}
            return self._tokens([first, *rest])

    def _tokens(self, chat: Chat) -> Tensor:
        # Models that can think aloud are asked not to: a person waits. Templates that don't know the word ignore it.
        templated = self._tokenizer.apply_chat_template(
            list(chat), add_generation_prompt=True, return_tensors="pt", return_dict=True, enable_thinking=False
        )
        return torch.as_tensor(templated["input_ids"])

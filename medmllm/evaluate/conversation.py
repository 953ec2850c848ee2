"""Talking with a model about one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

from medmllm.data.images import decode, is_scan
from medmllm.data.scans.window import AUTO
from medmllm.errors import ConfigError
from medmllm.evaluate.loading import load_model, model_folder, own_config
from medmllm.evaluate.scan_window import check_window, own_window, window_line
from medmllm.evaluate.stock import inputs, prompt
from medmllm.evaluate.unanswered import FolderImages
from medmllm.model.attention import padded_attention


@dataclass
class Conversation:
    """A model, an image, and what was said about it so far.

    Attributes:
        llava, processor: the model and what prepares its inputs.
        max_new_tokens: longest answer.
        image: what is talked about; a new one begins anew.
        turns: questions and answers so far.
        window: in which scans are shown; the own one where None.
        own: the window of training; None where it is not known.
    """

    llava: LlavaForConditionalGeneration
    processor: Any
    max_new_tokens: int
    image: Image.Image | None = None
    turns: list[tuple[str, str]] = field(default_factory=list)
    window: str | None = None
    own: str | None = None

    @classmethod
    def open(
        cls, model: Path | str, *, max_new_tokens: int | None = None, device: str = "auto", window: str | None = None
    ) -> Conversation:
        """Loads a run's model, or a saved one by folder or hub id."""
        check_window(window)
        name = model_folder(Path(model)) if Path(model).is_dir() else model
        llava, asker = load_model(name, FolderImages(Path()), device=device)
        longest = max_new_tokens or own_config(Path(model)).eval.max_new_tokens
        return cls(llava, asker.processor, longest, window=window, own=own_window(Path(model)))

    def show(self, path: Path) -> str:
        """Begins anew with another image; of a scan, the line that says in which window it is shown."""
        self.look_at(decode(path, where=str(path), name=str(path), window=self.window or self.own or AUTO))
        return window_line(self.window, self.own) if is_scan(str(path), path) else ""

    def look_at(self, image: Image.Image) -> None:
        """Begins anew with an image that is open already."""
        self.image, self.turns = image.convert("RGB"), []

    @torch.no_grad()
    def ask(self, question: str) -> str:
        """The answer to a question, which knows those before it.

        Raises:
            ConfigError: no image is shown, or the conversation has become longer than the model can read.
        """
        if self.image is None:
            raise ConfigError("there is no image to talk about", hint="exgra chat RUN --image FILE")
        asked = inputs(self.processor, [prompt(self.processor, self.turns, question)], [self.image])
        self._check_length(asked["input_ids"].shape[1])
        asked["pixel_values"] = asked["pixel_values"].to(self.llava.dtype)
        with padded_attention(self.llava.model.language_model):
            made = self.llava.generate(
                **{name: tensor.to(self.llava.device) for name, tensor in asked.items()},
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
            )
        text = self.processor.tokenizer.decode(made[0, asked["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        self.turns.append((question, text))
        return text

    def _check_length(self, length: int) -> None:
        limit = self.llava.config.text_config.max_position_embeddings
        if length + self.max_new_tokens > limit:
            told = f"the conversation has {length} tokens, and the model reads {limit}"
            raise ConfigError(told, hint="begin anew with /new, or choose a smaller --max-new-tokens")

"""Talking with a model about images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from transformers import LlavaForConditionalGeneration

from medmllm.data.images import decode, is_scan
from medmllm.data.scans.address import address
from medmllm.data.scans.window import AUTO
from medmllm.errors import ConfigError
from medmllm.evaluate.generate import Asker, generate
from medmllm.evaluate.loading import answer_length, load_model, model_folder
from medmllm.evaluate.scan_window import check_window, own_window, window_line
from medmllm.evaluate.unanswered import FolderImages
from medmllm.model.attention import padded_attention


@dataclass
class Conversation:
    """A model, images, and what was said about them so far.

    Attributes:
        llava, asker: the model and what prepares its inputs.
        max_new_tokens: longest answer.
        images: what is talked about, each with the number of the turn that brought it.
        turns: questions and answers so far.
        window: in which scans are shown; the own one where None.
        own: the window of training; None where it is not known.
    """

    llava: LlavaForConditionalGeneration
    asker: Asker
    max_new_tokens: int
    images: list[tuple[int, Image.Image]] = field(default_factory=list)
    turns: list[tuple[str, str]] = field(default_factory=list)
    window: str | None = None
    own: str | None = None

    @classmethod
    def open(
        cls, model: Path | str, *, max_new_tokens: int | None = None, device: str = "auto", window: str | None = None
    ) -> Conversation:
        """Load a run's model, or a saved one by folder or hub id."""
        check_window(window)
        name = model_folder(Path(model)) if Path(model).is_dir() else model
        llava, asker = load_model(name, FolderImages(Path()), device=device)
        longest = max_new_tokens or answer_length(Path(model), name)
        return cls(llava, asker, longest, window=window, own=own_window(Path(model)))

    def show(self, path: Path) -> str:
        """Start over with another image; of a scan, the line that says in which window it is shown."""
        image, told = self._open(path)
        self.look_at(image)
        return told

    def look_at(self, image: Image.Image) -> None:
        """Start over with an image that is open already."""
        self.images, self.turns = [(0, image.convert("RGB"))], []

    def add(self, path: Path) -> str:
        """Show one more image with the next question; of a scan, the line that says in which window it is shown."""
        image, told = self._open(path)
        self.add_image(image)
        return told

    def _open(self, path: Path) -> tuple[Image.Image, str]:
        """An image, and the line about its window; behind a volume's path may stand its slice, `ct.nii.gz#axial=40`."""
        file = path if path.exists() else Path(address(str(path)).path)
        image = decode(file, where=str(path), name=str(path), window=self.window or self.own or AUTO)
        return image, window_line(self.window, self.own) if is_scan(str(path), file) else ""

    def add_image(self, image: Image.Image) -> None:
        """Show one more image, which is open already, with the next question."""
        self.images.append((len(self.turns), image.convert("RGB")))

    def start_over(self) -> None:
        """Forget what was said, and the images that came later than the first question."""
        self.images, self.turns = [one for one in self.images if one[0] == 0], []

    @property
    def image(self) -> Image.Image | None:
        """The first image."""
        return self.images[0][1] if self.images else None

    def ask(self, question: str) -> str:
        """The answer to a question, which knows those before it.

        Raises:
            ConfigError: no image is shown, or the conversation has become longer than the model can read.
        """
        if not self.images:
            raise ConfigError("there is no image to talk about", hint="exgra chat RUN --image FILE")
        asked = self.asker.follow_up(self.images, self.turns, question)
        self._check_length(asked["input_ids"].shape[1])
        with padded_attention(self.llava.model.language_model):
            text = generate(self.llava, self.asker, asked, self.max_new_tokens)[0]
        self.turns.append((question, text))
        return text

    def _check_length(self, length: int) -> None:
        limit = self.llava.config.text_config.max_position_embeddings
        if length + self.max_new_tokens > limit:
            told = f"the conversation has {length} tokens, and the model reads {limit}"
            raise ConfigError(told, hint="start over with /new, or choose a smaller --max-new-tokens")

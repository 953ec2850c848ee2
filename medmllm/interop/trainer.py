"""Graph alignment inside transformers' own Trainer: mix this class in, and nothing else of a training script changes.

    class Mine(GraphAligned, Trainer): ...
    trainer = Mine(model=aligned, args=arguments, train_dataset=records, data_collator=collate(reader))

Processes average their gradients; `AlignedLlava` multiplies what is a process's own by their number and matches over
the batch of all of them. Gradient accumulation is refused: the Trainer goes back after every part of a batch, and a
graph over the whole is then out of reach. `exgra train` has it, by `engine.micro_batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from graphalign.distributed import world_size
from medmllm.data.batches import Reader, step_generator
from medmllm.data.records import Record


def collate(reader: Reader, same: Literal["image", "person"] = "image") -> Callable[[Sequence[Record]], dict[str, Any]]:
    """A data collator of records: one packed batch under the name `batch`; `same` is `align.same`."""
    return lambda records: {"batch": reader.pack(records, same=same)}


class GraphAligned:
    """For a subclass of Trainer whose model is an `AlignedLlava`. Wants `remove_unused_columns=False`."""

    args: Any
    state: Any
    model: Any
    compute_loss_context_manager: Any
    is_fsdp_enabled: bool

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        if self.args.gradient_accumulation_steps > 1:
            raise ValueError("accumulated parts of a batch cannot share a graph: set gradient_accumulation_steps=1")

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **unused: Any) -> Any:
        """Next-token loss plus alignment; the noise of the matching depends on seed and step alone."""
        self._check_wrapped(model)
        generator = step_generator(self.args.seed, self.state.global_step)
        out = model(inputs["batch"].to(self.args.device), generator)
        loss: Tensor = out.loss
        return (loss, out) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: dict[str, Any], *unused: Any, **more: Any) -> tuple[Any, None, None]:
        """The loss of a batch of the evaluation, with the noise of the step that was reached; nothing is generated."""
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, inputs), None, None

    def _check_wrapped(self, model: Any) -> None:
        """The Trainer leaves a model unwrapped that it evaluated before training; gradients stay in their process."""
        if model.training and world_size() > 1 and model is self.model and not self.is_fsdp_enabled:
            raise RuntimeError(
                "the Trainer does not average gradients over the processes; it does so for a model that was evaluated "
                "before training: call train() first, or evaluate with a Trainer of its own"
            )

"""Graph alignment inside transformers' own Trainer: mix this class in, and nothing else of a training script changes.

    class Mine(GraphAligned, Trainer): ...
    trainer = Mine(model=aligned, args=arguments, train_dataset=records, data_collator=collate(reader))

Processes average their gradients; `AlignedLlava` multiplies what is a process's own by their number and matches over
the batch of all of them. Gradient accumulation is refused: the Trainer goes back after every part of a batch, and a
graph over the whole is then out of reach. `exgra train` has it, by `engine.micro_batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from medmllm.data.batches import Reader, step_generator
from medmllm.data.records import Record


def collate(reader: Reader) -> Callable[[Sequence[Record]], dict[str, Any]]:
    """A data collator of records: one packed batch under the name `batch`."""
    return lambda records: {"batch": reader.pack(records)}


class GraphAligned:
    """For a subclass of Trainer whose model is an `AlignedLlava`. Wants `remove_unused_columns=False`."""

    args: Any
    state: Any

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        if self.args.gradient_accumulation_steps > 1:
            raise ValueError("Accumulated parts of a batch cannot share a graph: set gradient_accumulation_steps=1.")

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **unused: Any) -> Any:
        """Next-token loss plus alignment; the noise of the matching depends on seed and step alone."""
        generator = step_generator(self.args.seed, self.state.global_step)
        out = model(inputs["batch"].to(self.args.device), generator)
        loss: Tensor = out.loss
        return (loss, out) if return_outputs else loss

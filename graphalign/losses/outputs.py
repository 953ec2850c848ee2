"""Input and output of a loss over modalities: named features, and the findings of one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..counts import count_of

Features = Mapping[str, Tensor]
Masks = Mapping[str, Tensor] | None


@dataclass(frozen=True)
class AlignmentOutput:
    """What one step of a loss over modalities found.

    Args:
        loss: Scalar with gradient.
        matchings: `"image->caption"`, `"image->barycenter"` and so on to the matching `(n, n)`, without gradient: what
            the solver found (a mean over samples where an estimator draws several), or, for losses without one, the
            best partner of every row, which columns may share.
        accuracy: Scalar: share of the matchings' mass that is correct, groups taken into account. Of a relaxed solver
            this is less than the share of pairs that are right once rounded; `AlignmentLoss.evaluate` shows how to
            round.
        unmatched: Scalar: share of nodes left alone.
        converged: Scalar: share of problems that met the solver's tolerance; None for losses without such a solver.
        residual: Scalar: the largest residual; None for losses without such a solver.
        missing: Name of a modality to the number of samples that lack it; None where `present` was not given.

    Example:
        >>> import torch
        >>> from graphalign import InfoNCE
        >>> out = InfoNCE(temperature=1.0).evaluate({"image": torch.eye(3), "text": torch.eye(3)})
        >>> out
        AlignmentOutput(loss=0.5514, accuracy=1, unmatched=0, 2 matchings)
        >>> sorted(out.matchings)
        ['image->text', 'text->image']
    """

    loss: Tensor
    matchings: Mapping[str, Tensor]
    accuracy: Tensor
    unmatched: Tensor
    converged: Tensor | None = None
    residual: Tensor | None = None
    missing: Mapping[str, int] | None = None

    def __repr__(self) -> str:
        scalars = {"loss": self.loss, "accuracy": self.accuracy, "unmatched": self.unmatched}
        figures = ", ".join(f"{name}={float(value.detach()):.4g}" for name, value in scalars.items())
        return f"AlignmentOutput({figures}, {count_of(len(self.matchings), 'matching')})"

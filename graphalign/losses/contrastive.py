"""What contrastive losses share: similarities of every pair of modalities, and retrieval by them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..metrics import matching_accuracy
from ..targets import correspondence
from .modalities import vectors
from .outputs import AlignmentOutput, Features, Masks

# CLIP's bound on the scale of its logits: beyond it training is not stable.
LARGEST_SCALE = 100.0


def pairs(features: Iterable[str]) -> list[tuple[str, str]]:
    """Return every pair of modalities once, in the order of their names' first appearance."""
    return list(combinations(features, 2))


def cosines(features: Features, masks: Masks) -> Tensor:
    """Return the cosines `(P, n, n)` of all samples for every pair of modalities; tokens count by their mean."""
    units = F.normalize(vectors(features, masks), dim=-1)
    first, second = zip(*combinations(range(len(units)), 2), strict=True)
    return units[list(first)] @ units[list(second)].mT


def shares(n: int, groups: Tensor | None, like: Tensor) -> Tensor:
    """Return the target `(n, n)` with rows that sum to one: a sample's group shares its row evenly."""
    positive = correspondence(n, groups, like)
    return positive / positive.sum(-1, keepdim=True)


def symmetric_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy of rows and of columns, `(P)`, with a symmetric target `(n, n)`."""
    rows, columns = logits.log_softmax(-1), logits.log_softmax(-2)
    return -(target * (rows + columns)).sum((-2, -1)) / (2 * len(target))


def retrieval(loss: Tensor, scores: Mapping[str, Tensor], groups: Tensor | None) -> AlignmentOutput:
    """Return the output of a loss that matches every row with its best column.

    Args:
        loss: Scalar.
        scores: Name of the direction to `(n, n)`, higher is better.
        groups: Long `(n)` or None.

    Example:
        >>> out = retrieval(torch.tensor(0.5), {"image->text": torch.tensor([[0.9, 0.1], [0.8, 0.2]])}, None)
        >>> out.matchings["image->text"], out.accuracy
        (tensor([[1., 0.],
                [1., 0.]]), tensor(0.5000))
    """
    stacked = torch.stack(list(scores.values())).detach()
    best = F.one_hot(stacked.argmax(-1), stacked.shape[-1]).to(stacked)
    accuracy = matching_accuracy(best, groups).mean()
    return AlignmentOutput(loss, dict(zip(scores, best, strict=True)), accuracy, accuracy.new_zeros(()))


def both_ways(names: Iterable[tuple[str, str]], scores: Tensor) -> dict[str, Tensor]:
    """Return the directions `first->second` and `second->first` of scores `(P, n, n)` that are one for both."""
    named = [(first, second, s) for (first, second), s in zip(names, scores, strict=True)]
    forth = {f"{first}->{second}": s for first, second, s in named}
    return forth | {f"{second}->{first}": s.mT for first, second, s in named}


def learnt_scale(temperature: float) -> nn.Parameter:
    """Return the parameter $\\log(1 / \\tau)$."""
    return nn.Parameter(torch.tensor(-math.log(temperature)))


def bounded_scale(log_scale: nn.Parameter | None, temperature: float) -> Tensor | float:
    """Return what cosines are multiplied with: the parameter's, at most `LARGEST_SCALE`, or $1 / \\tau$."""
    return 1 / temperature if log_scale is None else log_scale.clamp(max=math.log(LARGEST_SCALE)).exp()

"""SigLIP: every pair of samples is a yes-or-no question of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..arguments import check_finite, check_flag, check_positive
from ..targets import correspondence
from .contrastive import both_ways, cosines, learnt_scale, pairs, retrieval
from .modalities import ModalityLoss
from .outputs import AlignmentOutput, Features, Masks


class SigLIP(ModalityLoss):
    r"""The pairwise sigmoid loss of SigLIP, over every pair of modalities.

    With cosines $S_{ia}$ and $z_{ia} = 1$ for interchangeable samples (each with itself at least), else $-1$,

    $$L = -\frac1n \sum_{ia} \log \sigma\bigl(z_{ia} (S_{ia} / \tau + b)\bigr),$$

    and the mean over the pairs of modalities. The bias starts low, as nearly all pairs are negative.

    When to use it: as `InfoNCE`; no softmax couples the samples, and a batch of one still has a gradient.

    Cost: $n^2$ cosines for each of the $K (K - 1) / 2$ pairs.

    Args:
        temperature: $\tau$, above 0; 0.1 is the paper's start, $\log(1 / \tau) = \log 10$.
        bias: $b$; -10 is the paper's start.
        learnable: Whether $\log(1 / \tau)$ and $b$ are parameters, `log_scale` and `offset`.

    Attributes:
        reads_tokens: False: tokens are averaged first.

    Raises:
        ValueError: `temperature` is not above 0, `bias` is not finite, or `learnable` is not a bool.

    Example:
        >>> import torch
        >>> from graphalign import SigLIP
        >>> out = SigLIP()({"image": torch.eye(4), "text": torch.eye(4)})
        >>> round(out.loss.item(), 4), out.accuracy.item()
        (0.6933, 1.0)

    References:
        Zhai et al., "Sigmoid loss for language image pre-training", ICCV 2023, section 3.2 and algorithm 1.
    """

    def __init__(self, temperature: float = 0.1, bias: float = -10.0, learnable: bool = True) -> None:
        super().__init__()
        self.temperature, self.bias, self.learnable = temperature, bias, learnable
        check_positive(self, "temperature")
        check_finite(self, "bias")
        check_flag(self, "learnable")
        self.log_scale = learnt_scale(temperature) if learnable else None
        self.offset = nn.Parameter(torch.tensor(float(bias))) if learnable else None

    def compute(
        self, features: Features, masks: Masks, groups: Tensor | None, generator: Generator | None
    ) -> AlignmentOutput:
        scores = cosines(features, masks)
        signs = 2 * correspondence(scores.shape[-1], groups, scores) - 1
        loss = -F.logsigmoid(signs * self._logits(scores)).sum((-2, -1)).mean() / len(signs)
        return retrieval(loss, both_ways(pairs(features), scores), groups)

    def _logits(self, scores: Tensor) -> Tensor:
        if self.log_scale is None or self.offset is None:
            return scores / self.temperature + self.bias
        return scores * self.log_scale.exp() + self.offset

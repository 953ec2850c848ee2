"""InfoNCE: every sample picks its partner among all samples of the batch."""

from __future__ import annotations

from torch import Generator, Tensor

from ..arguments import check_flag, check_positive
from .contrastive import (
    both_ways,
    bounded_scale,
    cosines,
    learnt_scale,
    pairs,
    retrieval,
    shares,
    symmetric_cross_entropy,
)
from .modalities import ModalityLoss
from .outputs import AlignmentOutput, Features, Masks


class InfoNCE(ModalityLoss):
    r"""InfoNCE, the symmetric contrastive loss of CLIP, over every pair of modalities.

    With cosines $S_{ia}$ of two modalities, $p_{ia} = \mathrm{softmax}_a(S_{ia} / \tau)$ over rows, $q_{ia}$ over
    columns, and the samples $P(i)$ that are interchangeable with $i$ (itself at least),

    $$L = -\frac{1}{2n} \sum_i \frac{1}{|P(i)|} \sum_{a \in P(i)} \log p_{ia} + \log q_{ai},$$

    and the mean over the pairs of modalities. Without groups this is CLIP's loss; with them the positives of a row
    share its target evenly, as in supervised contrastive learning (the sum outside the logarithm).

    When to use it: the baseline that alignment by matching is compared with. A batch of one has the loss 0 and no
    gradient.

    Cost: $n^2$ cosines for each of the $K (K - 1) / 2$ pairs.

    Args:
        temperature: $\tau$, above 0; small: only the hardest negatives count. The start, if learnable.
        learnable: Whether $\log(1 / \tau)$ is a parameter, `log_scale`; then $\tau$ stays at 0.01 or above, as in CLIP.

    Attributes:
        reads_tokens: False: tokens are averaged first.

    Raises:
        ValueError: `temperature` is not above 0, or `learnable` is not a bool.

    Example:
        >>> import torch
        >>> from graphalign import InfoNCE
        >>> views = {"image": torch.eye(3), "text": torch.eye(3).roll(1, 0)}
        >>> out = InfoNCE(temperature=0.5, learnable=False)(views)
        >>> round(out.loss.item(), 4), out.accuracy.item()
        (2.2395, 0.0)

    References:
        van den Oord et al., "Representation learning with contrastive predictive coding", 2018, eq. 4; Radford et al.,
        "Learning transferable visual models from natural language supervision", ICML 2021, figure 3 and section 2.5;
        Khosla et al., "Supervised contrastive learning", NeurIPS 2020, eq. 2.
    """

    def __init__(self, temperature: float = 0.07, learnable: bool = True) -> None:
        super().__init__()
        self.temperature, self.learnable = temperature, learnable
        check_positive(self, "temperature")
        check_flag(self, "learnable")
        self.log_scale = learnt_scale(temperature) if learnable else None

    def compute(
        self, features: Features, masks: Masks, groups: Tensor | None, generator: Generator | None
    ) -> AlignmentOutput:
        scores = cosines(features, masks)
        target = shares(scores.shape[-1], groups, scores)
        scale = bounded_scale(self.log_scale, self.temperature)
        loss = symmetric_cross_entropy(scale * scores, target).mean()
        return retrieval(loss, both_ways(pairs(features), scores), groups)

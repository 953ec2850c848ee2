"""A contrastive loss that looks at the hardest negative alone."""

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from graphalign import AlignmentOutput, ModalityLoss, correspondence, retrieval, vectors
from graphalign.arguments import check_positive
from graphalign.losses.outputs import Features, Masks


class HardestNegative(ModalityLoss):
    r"""A hinge loss on the hardest negative: the wrong sample that looks most like the right one.

    With cosines $S_{ia}$ of two modalities and the samples $P(i)$ that are interchangeable with $i$,

    $$L = \frac1n \sum_i \max\Bigl(0,\; m + \max_{a \notin P(i)} S_{ia} - \max_{a \in P(i)} S_{ia}\Bigr)$$

    and the mean over the ordered pairs of modalities.

    References:
        Faghri et al., "VSE++: Improving visual-semantic embeddings with hard negatives", BMVC 2018, eq. 6.
    """

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = margin
        check_positive(self, "margin")

    def compute(
        self, features: Features, masks: Masks, groups: Tensor | None, generator: Generator | None
    ) -> AlignmentOutput:
        units = dict(zip(features, F.normalize(vectors(features, masks), dim=-1), strict=True))
        scores = {f"{a}->{b}": units[a] @ units[b].mT for a, b in permutations(units, 2)}
        loss = torch.stack([self.hinge(s, groups) for s in scores.values()]).mean()
        return retrieval(loss, scores, groups)

    def hinge(self, scores: Tensor, groups: Tensor | None) -> Tensor:
        """The loss of one direction by its cosines (n, n)."""
        right = correspondence(len(scores), groups, scores) > 0
        partner = scores.masked_fill(~right, -torch.inf).amax(-1)
        hardest = scores.masked_fill(right, -torch.inf).amax(-1)
        return (self.margin + hardest - partner).clamp_min(0).mean()

"""A contrastive loss that looks at the hardest negative alone."""

from itertools import permutations
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from graphalign import AlignmentOutput
from graphalign.arguments import check_positive
from graphalign.losses import correspondence
from graphalign.losses.contrastive import retrieval
from graphalign.losses.modalities import Features, Masks, device_type, vectors


class HardestNegative(nn.Module):
    r"""A hinge loss on the hardest negative: the wrong sample that looks most like the right one.

    With cosines $S_{ia}$ of two modalities and the samples $P(i)$ that are interchangeable with $i$,

    $$L = \frac1n \sum_i \max\Bigl(0,\; m + \max_{a \notin P(i)} S_{ia} - \max_{a \in P(i)} S_{ia}\Bigr)$$

    and the mean over the ordered pairs of modalities.

    References:
        Faghri et al., "VSE++: Improving visual-semantic embeddings with hard negatives", BMVC 2018, eq. 6.
    """

    reads_tokens: ClassVar[bool] = False

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = margin
        check_positive(self, "margin")

    def extra_repr(self) -> str:
        return f"margin={self.margin}"

    def forward(
        self,
        features: Features,
        *,
        masks: Masks = None,
        groups: Tensor | None = None,
        generator: Generator | None = None,
    ) -> AlignmentOutput:
        with torch.autocast(device_type(features), enabled=False):
            units = dict(zip(features, F.normalize(vectors(features, masks), dim=-1), strict=True))
            scores = {f"{a}->{b}": units[a] @ units[b].mT for a, b in permutations(units, 2)}
            loss = torch.stack([self.hinge(s, groups) for s in scores.values()]).mean()
            return retrieval(loss, scores, groups)

    @torch.no_grad()
    def evaluate(self, features: Features, *, masks: Masks = None, groups: Tensor | None = None) -> AlignmentOutput:
        return self(features, masks=masks, groups=groups)

    def hinge(self, scores: Tensor, groups: Tensor | None) -> Tensor:
        """The loss of one direction by its cosines (n, n)."""
        right = correspondence(len(scores), groups, scores) > 0
        partner = scores.masked_fill(~right, -torch.inf).amax(-1)
        hardest = scores.masked_fill(right, -torch.inf).amax(-1)
        return (self.margin + hardest - partner).clamp_min(0).mean()

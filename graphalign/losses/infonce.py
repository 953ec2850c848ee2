"""InfoNCE: every sample picks its partner among all samples of the batch."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..arguments import check_flag, check_positive, shown
from ..registry import build
from ..targets import correspondence
from .bounded import Bounded
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

    Another `criterion` takes the place of the logarithm: `mae` and `gce` are bounded losses of the mass on the group,
    $\sum_{a \in P(i)} p_{ia}$ and $\sum_{a \in P(i)} q_{ai}$, over whose rows and columns the mean is taken.

    When to use it: the baseline that alignment by matching is compared with; with `criterion="mae"` where many pairs
    are wrong. A batch of one has the loss 0 and no gradient.

    Cost: $n^2$ cosines for each of the $K (K - 1) / 2$ pairs.

    Args:
        temperature: $\tau$, above 0; small: only the hardest negatives count. The start, if learnable.
        learnable: Whether $\log(1 / \tau)$ is a parameter, `log_scale`; then $\tau$ stays at 0.01 or above, as in CLIP.
        criterion: `cross_entropy`, `MAE()` or `GCE()`, or the spec of one, e.g. `"gce(q=0.5)"`.

    Attributes:
        reads_tokens: False: tokens are averaged first.

    Raises:
        ValueError: `temperature` is not above 0, `learnable` is not a bool, or the criterion is unknown.

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

    def __init__(
        self, temperature: float = 0.07, learnable: bool = True, criterion: str | Bounded = "cross_entropy"
    ) -> None:
        super().__init__()
        self.criterion = _criterion(criterion)
        self.temperature, self.learnable = temperature, learnable
        check_positive(self, "temperature")
        check_flag(self, "learnable")
        self.log_scale = learnt_scale(temperature) if learnable else None

    def compute(
        self, features: Features, masks: Masks, groups: Tensor | None, generator: Generator | None
    ) -> AlignmentOutput:
        scores = cosines(features, masks)
        logits = bounded_scale(self.log_scale, self.temperature) * scores
        if isinstance(self.criterion, str):
            loss = symmetric_cross_entropy(logits, shares(scores.shape[-1], groups, scores)).mean()
        else:
            wrong = correspondence(scores.shape[-1], groups, scores) == 0
            masses = [logits.log_softmax(side).masked_fill(wrong, -torch.inf).logsumexp(side) for side in (-1, -2)]
            loss = self.criterion.of_logarithms(torch.stack(masses)).mean()
        return retrieval(loss, both_ways(pairs(features), scores), groups)


def _criterion(criterion: str | Bounded) -> str | Bounded:
    """`cross_entropy`, or a bounded loss, as it is or by its spec."""
    if criterion == "cross_entropy":
        return "cross_entropy"
    found = build("loss", criterion) if isinstance(criterion, str) else criterion
    if isinstance(found, Bounded) and not isinstance(found, type):
        return found
    raise ValueError(f'InfoNCE: criterion must be cross_entropy, mae or gce, e.g. "gce(q=0.5)", not {shown(criterion)}')

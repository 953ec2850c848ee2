"""VLAP: one modality predicts to which words another one is assigned."""

from __future__ import annotations

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..arguments import check_count, check_positive
from ..solvers.potentials import shut
from ..solvers.scaling import scaled_plan
from .contrastive import retrieval, shares
from .modalities import ModalityLoss, vectors
from .outputs import AlignmentOutput, Features, Masks


class VLAP(ModalityLoss):
    r"""VLAP: assignment prediction against fixed prototypes, such as the words of a language model.

    Each modality's samples have cosines $c_{iw}$ with the prototypes. Their assignment is an entropic transport from
    equal masses on the samples to the masses $\mu$ on the prototypes, a constant for the gradient:

    $$Q = \arg\max_Q \; \langle Q, c\rangle + \varepsilon H(Q), \qquad Q \mathbf 1 = \mathbf 1,\;
      Q^\top \mathbf 1 = n \mu .$$

    A sample predicts an assignment by $p_{iw} = \mathrm{softmax}_w(c_{iw} / \tau)$. With modalities $k$ and $l$, and
    the samples $P(i)$ that are interchangeable with $i$ (itself at least),

    $$L_{kl} = -\frac1n \sum_i \frac{1}{|P(i)|} \sum_{j \in P(i)} \sum_w Q^{(l)}_{jw} \log p^{(k)}_{iw},$$

    and $L$ is the mean over all ordered pairs of modalities (the paper, with two of them, takes the sum). `matchings`
    have, for each sample, the other modality's sample whose assignment it predicts best, by
    $\mathrm{KL}(Q^{(l)}_j \,\|\, p^{(k)}_i)$.

    When to use it: to pull modalities into the space of a language model's words, without negatives.

    Cost: $n w$ cosines and $2$ `max_iter` products with them for each modality.

    Args:
        prototypes: $(w, d)$, with the features' width; None: `set_prototypes` gives them before the first use. They are
            no parameters and are not saved with the state.
        temperature: $\tau$ of the predictions, above 0.
        epsilon: $\varepsilon$, in units of cosines. Large: every sample is assigned to all words.
        max_iter: Sinkhorn rounds, all of which are made; each ends with exact masses of the samples.

    Attributes:
        reads_tokens: False: tokens are averaged first.

    Raises:
        ValueError: `temperature` or `epsilon` is not above 0, `max_iter` is not a whole number of at least 1, or the
            prototypes are not a matrix. A call without prototypes, or with features of another width, raises it too.

    Example:
        >>> import torch
        >>> from graphalign import VLAP
        >>> loss = VLAP(prototypes=torch.eye(3))
        >>> out = loss({"image": torch.eye(3), "text": torch.eye(3)})
        >>> round(out.loss.item(), 4), out.accuracy.item()
        (0.0001, 1.0)

    References:
        Park, Lee and Sohn, "Bridging vision and language spaces with assignment prediction", ICLR 2024, section 3; the
        defaults of temperature, epsilon and rounds are those of Caron et al., "Unsupervised learning of visual features
        by contrasting cluster assignments", NeurIPS 2020, on which it builds.
    """

    prototypes: Tensor | None
    masses: Tensor | None

    def __init__(
        self,
        prototypes: Tensor | None = None,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        max_iter: int = 3,
    ) -> None:
        super().__init__()
        self.temperature, self.epsilon, self.max_iter = temperature, epsilon, max_iter
        check_positive(self, "temperature", "epsilon")
        check_count(self, "max_iter")
        self.register_buffer("prototypes", None, persistent=False)
        self.register_buffer("masses", None, persistent=False)
        if prototypes is not None:
            self.set_prototypes(prototypes)

    def set_prototypes(self, prototypes: Tensor, frequencies: Tensor | None = None) -> None:
        r"""Set what samples are assigned to.

        Args:
            prototypes: $(w, d)$; only their directions count, and they get no gradient.
            frequencies: How often each word occurs, `(w)`, at least 0; $\mu$ is their share, as in the paper. None:
                all words are equal.

        Raises:
            ValueError: The shapes are not those above, or no frequency is above 0.
        """
        if not isinstance(prototypes, Tensor) or prototypes.dim() != 2 or 0 in prototypes.shape:
            given = tuple(prototypes.shape) if isinstance(prototypes, Tensor) else repr(prototypes)
            raise ValueError(f"VLAP: prototypes must be a tensor (words, width), not {given}")
        masses = torch.ones(len(prototypes), device=prototypes.device) if frequencies is None else frequencies
        if tuple(masses.shape) != (len(prototypes),) or not bool((masses >= 0).all() and masses.sum() > 0):
            raise ValueError(
                f"VLAP: frequencies need one number of at least 0 for each of the {len(prototypes)} prototypes, and a "
                f"sum above 0; got the shape {tuple(masses.shape)}"
            )
        self.prototypes, self.masses = prototypes.detach(), masses / masses.sum()

    def compute(
        self, features: Features, masks: Masks, groups: Tensor | None, generator: Generator | None
    ) -> AlignmentOutput:
        cosines = self._cosines(vectors(features, masks))
        predicted, assigned = (cosines / self.temperature).log_softmax(-1), self._assign(cosines.detach())
        target = shares(cosines.shape[1], groups, cosines) @ assigned
        losses = -torch.einsum("kiw,liw->kl", predicted, target) / cosines.shape[1]
        names = list(permutations(range(len(cosines)), 2))
        loss = torch.stack([losses[k, m] for k, m in names]).mean()
        words = list(features)
        scores = {f"{words[k]}->{words[m]}": _agreement(predicted[k], assigned[m]) for k, m in names}
        return retrieval(loss, scores, groups)

    def _cosines(self, x: Tensor) -> Tensor:
        """Cosines `(K, n, w)` of samples and prototypes."""
        if self.prototypes is None:
            raise ValueError(
                "VLAP needs prototypes, e.g. a language model's word embeddings: VLAP(prototypes=...), or "
                "loss.set_prototypes(...) before the first use"
            )
        if self.prototypes.shape[1] != x.shape[-1]:
            raise ValueError(
                f"VLAP: the prototypes are {self.prototypes.shape[1]} wide and the features {x.shape[-1]}; both must "
                f"lie in one space"
            )
        return F.normalize(x, dim=-1) @ F.normalize(self.prototypes.to(x), dim=-1).mT

    def _assign(self, cosines: Tensor) -> Tensor:
        """The assignments $Q$ `(K, n, w)`; samples are the columns, whose sums the solver keeps exactly."""
        assert self.masses is not None
        z = cosines.mT / self.epsilon
        b = z.new_ones(len(z), z.shape[-1])
        a = (z.shape[-1] * self.masses.to(z)).expand(len(z), -1)
        return scaled_plan(z, a, b, shut(torch.zeros_like(b), b), self.max_iter, 0.0).value.mT


def _agreement(predicted: Tensor, assigned: Tensor) -> Tensor:
    """Minus the divergence of every assignment (columns) from every prediction (rows), `(n, n)`."""
    return (predicted @ assigned.mT - torch.xlogy(assigned, assigned).sum(-1)).detach()

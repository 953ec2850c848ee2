"""PLOT: samples are sets of tokens, compared by optimal transport."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.checkpoint import checkpoint

from ..arguments import check_count, check_flag, check_not_negative, check_positive
from ..differentiation import attach_vjp
from ..problem import NodeEdge, Solution
from ..solvers.potentials import shut
from ..solvers.scaling import scaled_plan
from ..solvers.sensitivity import plan_vjp
from .contrastive import both_ways, bounded_scale, learnt_scale, pairs, retrieval, shares, symmetric_cross_entropy
from .modalities import ModalityLoss, token_sets
from .outputs import AlignmentOutput, Features, Masks

TokenSet = tuple[Tensor, Tensor]


class PLOT(ModalityLoss):
    r"""Contrast of token sets by their optimal transport, as in PLOT, over every pair of modalities.

    Samples $i$ and $a$ of two modalities have tokens $x_{ik}$ and $y_{al}$ with cosines $c_{kl}$. The entropic
    transport between uniform masses on their $t$ and $s$ real tokens is

    $$T^\star = \arg\max_T \; \langle T, c\rangle + \varepsilon H(T), \qquad
      T \mathbf 1 = \tfrac1t \mathbf 1,\; T^\top \mathbf 1 = \tfrac1s \mathbf 1, \qquad
      S_{ia} = \langle T^\star, c\rangle = 1 - d_{OT}(i, a),$$

    where $d_{OT}$ is the transport distance at the costs $1 - c$. $S / \tau$ are the logits of the symmetric
    contrastive loss of `InfoNCE`, groups included.

    Taken from the paper: the distance and its solution by Sinkhorn, its place in the logits, the two stages, in
    which the plan is a constant for the gradient, and $\varepsilon$, rounds and tolerance. The paper compares the
    patches of an image with several learnt prompts of a class; here both sides are the tokens of a sample, the classes
    are the samples of the batch, and both directions count.

    When to use it: where a sample's mean loses what matters, and tokens are available.

    Cost: $n^2$ transport problems of $t s$ entries for each of the $K (K - 1) / 2$ pairs, solved in batches of at most
    `chunk` entries. Where there are several batches, the backward pass computes each of them again, so that memory
    stays that of one.

    Args:
        temperature: $\tau$ of the logits, above 0; the start, if learnable.
        learnable: Whether $\log(1 / \tau)$ is a parameter, `log_scale`; then $\tau$ stays at 0.01 or above.
        epsilon: $\varepsilon$, in units of cosines. Large: every token is spread over all.
        max_iter: Most Sinkhorn rounds.
        tol: Error of a token's mass, relative to it, at which a pair's rounds stop.
        plan_gradient: Whether the gradient also flows through $T^\star$, by the implicit function theorem; the paper's
            does not.
        chunk: Most entries of plans at a time; at least one row of samples is solved at once.

    Attributes:
        reads_tokens: True. Vectors `(n, d)` are sets of one token each, and the loss then is that of `InfoNCE`.

    Raises:
        ValueError: `temperature` or `epsilon` is not above 0, `tol` is negative, `max_iter` or `chunk` is not a whole
            number of at least 1, or a flag is none.

    Example:
        >>> import torch
        >>> from graphalign import PLOT
        >>> tokens = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
        >>> out = PLOT(epsilon=0.01)({"image": tokens, "text": tokens.flip(1)})
        >>> out.accuracy.item()
        1.0

    References:
        Chen et al., "PLOT: Prompt learning with optimal transport for vision-language models", ICLR 2023, section 3;
        Cuturi, "Sinkhorn distances", NeurIPS 2013.
    """

    reads_tokens: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float = 0.07,
        learnable: bool = True,
        epsilon: float = 0.1,
        max_iter: int = 100,
        tol: float = 1e-2,
        plan_gradient: bool = False,
        chunk: int = 2**24,
    ) -> None:
        super().__init__()
        self.temperature, self.learnable, self.epsilon = temperature, learnable, epsilon
        self.max_iter, self.tol, self.plan_gradient, self.chunk = max_iter, tol, plan_gradient, chunk
        check_positive(self, "temperature", "epsilon")
        check_flag(self, "learnable", "plan_gradient")
        check_count(self, "max_iter", "chunk")
        check_not_negative(self, "tol")
        self.log_scale = learnt_scale(temperature) if learnable else None

    def compute(
        self, features: Features, masks: Masks, groups: Tensor | None, generator: Generator | None
    ) -> AlignmentOutput:
        sets = [(F.normalize(x, dim=-1), real) for x, real in token_sets(features, masks)]
        found = [self._compare(first, second) for first, second in combinations(sets, 2)]
        scores, errors = (torch.stack(part) for part in zip(*found, strict=True))
        target = shares(scores.shape[-1], groups, scores)
        scale = bounded_scale(self.log_scale, self.temperature)
        loss = symmetric_cross_entropy(scale * scores, target).mean()
        out = retrieval(loss, both_ways(pairs(features), scores), groups)
        converged = (errors <= self.tol + 1e-6).to(scores).mean()
        return replace(out, converged=converged, residual=errors.max())

    def _compare(self, first: TokenSet, second: TokenSet) -> tuple[Tensor, Tensor]:
        """Similarities and Sinkhorn errors `(n, n)` of two modalities, a few rows at a time."""
        (x, real1), (y, real2) = first, second
        rows = max(1, self.chunk // (len(y) * x.shape[1] * y.shape[1]))
        if rows >= len(x):
            return self._similarities(x, real1, y, real2)

        def again(*part: Tensor) -> tuple[Tensor, Tensor]:
            found = checkpoint(self._similarities, *part, y, real2, use_reentrant=False, preserve_rng_state=False)
            return cast(tuple[Tensor, Tensor], found)

        parts = [again(*part) for part in zip(torch.split(x, rows), torch.split(real1, rows), strict=True)]
        return torch.cat([s for s, _ in parts]), torch.cat([e for _, e in parts])

    def _similarities(self, x: Tensor, real1: Tensor, y: Tensor, real2: Tensor) -> tuple[Tensor, Tensor]:
        """$\\langle T^\\star, c\\rangle$ and the error of $T^\\star$ for all pairs of samples."""
        products = x.flatten(0, 1) @ y.flatten(0, 1).mT
        cosines = products.reshape(*x.shape[:2], *y.shape[:2]).transpose(1, 2)
        # Each token has a mass of at least one, by which the solver's errors are relative ones.
        total = float(max(x.shape[1], y.shape[1]))
        a = (total * _uniform(real1, x))[:, None].expand(-1, len(y), -1)
        b = (total * _uniform(real2, y))[None].expand(len(x), -1, -1)
        plan = self._plan(cosines, a, b)
        error = ((plan.detach().sum(-1) - a).abs() / a.clamp_min(1)).amax(-1)
        return (plan * cosines).sum((-2, -1)) / total, error

    def _plan(self, cosines: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """The plans `(r, n, t, s)` with the masses `a` and `b`."""
        z = cosines / self.epsilon
        with torch.no_grad():
            plan = scaled_plan(z, a, b, shut(torch.zeros_like(b), b), self.max_iter, self.tol).value
        if not self.plan_gradient:
            return plan
        # The cosines' scale is part of z, so the system behind the gradient needs none of its own.
        vjp = lambda grad: NodeEdge(plan_vjp(plan, grad.node))  # noqa: E731
        return attach_vjp(Solution(NodeEdge(plan)), NodeEdge(z), vjp).matching


def _uniform(real: Tensor, like: Tensor) -> Tensor:
    """Equal masses on the real tokens, `(n, t)`, one for each sample in total."""
    return real.to(like) / real.sum(-1, keepdim=True).clamp_min(1)

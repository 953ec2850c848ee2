"""Noise on scores, always from a generator that the caller gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from ..arguments import check_count, check_generator, check_not_negative
from ..problem import NodeEdge


class Noise(Protocol):
    """A distribution of independent noise on every score.

    Example: what an estimator draws need not be one of the built-in kinds.

        >>> import torch
        >>> from graphalign import IMLE, Lap, NodeEdge, Problem, differentiable
        >>> class Signs:
        ...     def sample(self, like, samples, generator):
        ...         return like.map(lambda x: torch.randn(samples, *x.shape, generator=generator).sign().to(x))
        >>> match = differentiable(Lap(), IMLE(noise=Signs(), samples=3))
        >>> problem = Problem(NodeEdge(torch.eye(2).requires_grad_()))
        >>> tuple(match(problem, generator=torch.Generator().manual_seed(0)).matching.shape)
        (2, 2)
    """

    def sample(self, like: NodeEdge, samples: int, generator: Generator | None) -> NodeEdge:
        """Draw `samples` times noise of the shape of `like`, as a leading dimension `(samples, *b, ...)`."""


class ScoredNoise(Noise, Protocol):
    """A noise whose density has a known gradient, as `perturbed` needs it.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Normal
        >>> Normal(scale=2.0).score(NodeEdge(torch.tensor([[4.0]]))).node
        tensor([[1.]])
    """

    def score(self, noise: NodeEdge) -> NodeEdge:
        r"""Return $-\nabla \log p$ at the noise: what a perturbed optimiser's gradient is weighted with."""


@dataclass(frozen=True)
class Gumbel:
    r"""Gumbel noise, whose arg-max is a sample of a softmax.

    $\mathrm{Gumbel}(0, \beta)$: $z = -\beta \log(-\log u)$ with $u$ uniform on $(0, 1)$.
    With it the arg-max of scores $\theta$ is a sample of $\mathrm{softmax}(\theta / \beta)$.

    Cost: one number for each entry and sample.

    Args:
        scale: $\beta$, in units of the scores; 0 switches the noise off.

    Raises:
        ValueError: `scale` is negative or not finite.

    Example: the largest of the perturbed scores 0 and 1 is the second one with the softmax's probability, 0.73.

        >>> import torch
        >>> from graphalign import Gumbel, NodeEdge
        >>> scores, generator = NodeEdge(torch.tensor([[0.0, 1.0]])), torch.Generator().manual_seed(0)
        >>> drawn = Gumbel(1.0).sample(scores, 10_000, generator).node
        >>> drawn.shape, round((scores.node + drawn).argmax(-1).float().mean().item(), 2)
        (torch.Size([10000, 1, 2]), 0.73)
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative(self, "scale")

    def sample(self, like: NodeEdge, samples: int, generator: Generator | None) -> NodeEdge:
        """Draw noise of shape `(samples, *b, ...)`; see `Noise.sample`."""
        return like.map(lambda x: -self.scale * (-_uniform(x, samples, generator).log()).log())

    def score(self, noise: NodeEdge) -> NodeEdge:
        r"""Return $(1 - e^{-z/\beta}) / \beta$."""
        return noise.map(lambda z: (1 - (-z / self.scale).exp()) / self.scale)


@dataclass(frozen=True)
class Normal:
    r"""Normal noise, $\mathcal N(0, \sigma^2)$.

    Cost: one number for each entry and sample.

    Args:
        scale: $\sigma$, in units of the scores; 0 switches the noise off.

    Raises:
        ValueError: `scale` is negative or not finite.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Normal
        >>> generator = torch.Generator().manual_seed(0)
        >>> drawn = Normal(0.2).sample(NodeEdge(torch.zeros(3, 4)), 10_000, generator).node
        >>> drawn.shape, round(drawn.std().item(), 2)
        (torch.Size([10000, 3, 4]), 0.2)
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative(self, "scale")

    def sample(self, like: NodeEdge, samples: int, generator: Generator | None) -> NodeEdge:
        """Draw noise of shape `(samples, *b, ...)`; see `Noise.sample`."""
        return like.map(lambda x: self.scale * torch.special.ndtri(_uniform(x, samples, generator)))

    def score(self, noise: NodeEdge) -> NodeEdge:
        r"""Return $z / \sigma^2$."""
        return noise.map(lambda z: z / self.scale**2)


@dataclass(frozen=True)
class SumOfGamma:
    r"""Noise whose sum over a matching is nearly Gumbel noise.

    The sum over $k$ entries is nearly $\mathrm{Gumbel}(0, \beta)$:

    $$z = \frac{\beta}{k} \Bigl( \sum_{i=1}^{s} G_i - \log s \Bigr), \qquad
      G_i \sim \mathrm{Gamma}(\text{shape } \tfrac1k, \text{ scale } \tfrac ki)$$

    A matching of $k$ pairs collects $k$ entries of the noise, so that with $s \to \infty$ the score of each matching,
    taken alone, is perturbed by a Gumbel variable. One entry has the mean $\frac{\beta}{k}(\sum_i \frac1i - \log s)$
    and the variance $\frac{\beta^2}{k} \sum_i \frac{1}{i^2}$. It has no density in closed form, so
    `perturbed` refuses it; `imle` takes it.

    Cost: `terms` numbers for each entry, drawn at once: `terms` times the memory of the sample while it is drawn.

    Args:
        k: Pairs of a matching, e.g. the number of nodes.
        scale: $\beta$, in units of the scores of a whole matching; 0 switches the noise off.
        terms: $s$; ten are near enough to the limit for most uses.

    Raises:
        ValueError: `k` or `terms` is not a whole number of at least 1, or `scale` is negative or not finite.

    Example: five entries together have nearly the deviation of Gumbel noise, 1.28; with ten terms 1.245.

        >>> import torch
        >>> from graphalign import NodeEdge, SumOfGamma
        >>> generator = torch.Generator().manual_seed(0)
        >>> drawn = SumOfGamma(k=5).sample(NodeEdge(torch.zeros(5, 5)), 10_000, generator).node
        >>> abs(drawn.sum(-1).std().item() - 1.245) < 0.01
        True

    References:
        Niepert, Minervini and Franceschi, "Implicit MLE", NeurIPS 2021, on Sum-of-Gamma perturbations.
    """

    k: int = 5
    scale: float = 1.0
    terms: int = 10

    def __post_init__(self) -> None:
        check_count(self, "k", "terms")
        check_not_negative(self, "scale")

    def sample(self, like: NodeEdge, samples: int, generator: Generator | None) -> NodeEdge:
        """Draw noise of shape `(samples, *b, ...)`; see `Noise.sample`."""
        return like.map(lambda x: self._draw(x, samples, generator))

    def _draw(self, like: Tensor, samples: int, generator: Generator | None) -> Tensor:
        source, dtype = _source(generator), torch.promote_types(like.dtype, torch.float32)
        shape = torch.full((self.terms, samples, *like.shape), 1 / self.k, dtype=dtype, device=source.device)
        # torch.distributions.Gamma is this function without its generator.
        standard = torch._standard_gamma(shape, generator=source)
        weights = self.k / torch.arange(1, self.terms + 1, dtype=dtype, device=source.device)
        total: Tensor = torch.tensordot(weights, standard, 1) - math.log(self.terms)
        return (total * (self.scale / self.k)).to(like.device)


def perturbation(noise: Noise, scores: NodeEdge, samples: int, generator: Generator | None) -> NodeEdge:
    """Return noise for scores, of node scores and a table of edge scores; factors of edge scores get none.

    A table is what factors stand for, and noise on each of its entries has no factors.
    """
    if scores.factors is None:
        return noise.sample(scores, samples, generator)
    first, second = scores.factors
    none = torch.zeros_like(first), torch.zeros_like(second)
    return NodeEdge(noise.sample(NodeEdge(scores.node), samples, generator).node, factors=none)


def _source(generator: Generator | None) -> Generator:
    check_generator(generator)
    if generator is None:
        raise ValueError(
            "what draws noise needs a generator: match(problem, generator=g), or loss(features, generator=g) of a loss "
            "over modalities, with g = torch.Generator().manual_seed(0)"
        )
    return generator


def _uniform(like: Tensor, samples: int, generator: Generator | None) -> Tensor:
    """Uniform numbers strictly between 0 and 1, drawn where the generator lives, in at least float32."""
    source, dtype = _source(generator), torch.promote_types(like.dtype, torch.float32)
    drawn = torch.rand((samples, *like.shape), generator=source, dtype=dtype, device=source.device)
    info = torch.finfo(dtype)
    return drawn.clamp(info.tiny, 1 - info.eps / 2).to(like.device)


NOISES: dict[str, Any] = {"gumbel": Gumbel, "normal": Normal, "sum_of_gamma": SumOfGamma}

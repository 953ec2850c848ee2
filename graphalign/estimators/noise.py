"""Noise on scores, always from a generator that the caller gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from ..arguments import not_negative
from ..problem import NodeEdge


class Noise(Protocol):
    """A distribution of independent noise on every score."""

    def sample(self, like: NodeEdge, samples: int, generator: Generator | None) -> NodeEdge:
        """Draws `samples` times noise of the shape of `like`, as a leading dimension `(samples, *b, ...)`."""

    def score(self, noise: NodeEdge) -> NodeEdge:
        r"""Returns $-\nabla \log p$ at the noise: what a perturbed optimiser's gradient is weighted with."""


@dataclass(frozen=True)
class Gumbel:
    r"""$\mathrm{Gumbel}(0, \beta)$: $z = -\beta \log(-\log u)$ with $u$ uniform on $(0, 1)$.

    With it the arg-max of scores $\theta$ is a sample of $\mathrm{softmax}(\theta / \beta)$.

    Args:
        scale: $\beta$, in units of the scores; 0 switches the noise off.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        not_negative(self, "scale")

    def sample(self, like: NodeEdge, samples: int, generator: Generator | None) -> NodeEdge:
        """Draws noise of shape `(samples, *b, ...)`; see `Noise.sample`."""
        return like.map(lambda x: -self.scale * (-_uniform(x, samples, generator).log()).log())

    def score(self, noise: NodeEdge) -> NodeEdge:
        r"""Returns $(1 - e^{-z/\beta}) / \beta$."""
        return noise.map(lambda z: (1 - (-z / self.scale).exp()) / self.scale)


@dataclass(frozen=True)
class Normal:
    r"""$\mathcal N(0, \sigma^2)$.

    Args:
        scale: $\sigma$, in units of the scores; 0 switches the noise off.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        not_negative(self, "scale")

    def sample(self, like: NodeEdge, samples: int, generator: Generator | None) -> NodeEdge:
        """Draws noise of shape `(samples, *b, ...)`; see `Noise.sample`."""
        return like.map(lambda x: self.scale * torch.special.ndtri(_uniform(x, samples, generator)))

    def score(self, noise: NodeEdge) -> NodeEdge:
        r"""Returns $z / \sigma^2$."""
        return noise.map(lambda z: z / self.scale**2)


def _uniform(like: Tensor, samples: int, generator: Generator | None) -> Tensor:
    """Uniform numbers strictly between 0 and 1, drawn where the generator lives, in at least float32."""
    if generator is None:
        raise ValueError(
            "This estimator draws noise and needs a generator, e.g. "
            "match(problem, generator=torch.Generator().manual_seed(0))."
        )
    dtype = torch.promote_types(like.dtype, torch.float32)
    drawn = torch.rand((samples, *like.shape), generator=generator, dtype=dtype, device=generator.device)
    info = torch.finfo(dtype)
    return drawn.clamp(info.tiny, 1 - info.eps / 2).to(like.device)


NOISES: dict[str, Any] = {"gumbel": Gumbel, "normal": Normal}

"""The small problems on which the conformance suites look at solvers and estimators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from ..problem import NodeEdge, Problem


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in float64, the same ones at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator() -> Generator:
    """The same noise at every call."""
    return torch.Generator().manual_seed(3)


def linear(*shape: int, seed: int = 0, **options: Any) -> Problem:
    """Random node scores `(*b, n, m)`."""
    return Problem(NodeEdge(normal(*shape, seed=seed)), **options)


def quadratic(*batch: int, n: int = 4, m: int = 4, seed: int = 0, **options: Any) -> Problem:
    """Random node and edge scores around two rings."""
    scores = NodeEdge(normal(*batch, n, m, seed=seed), normal(*batch, n, m, seed=seed + 1))
    return Problem(scores, edges1=ring(n), edges2=ring(m), **options)


def ring(n: int) -> Tensor:
    """The `n` edges of a directed ring, `(2, n)`."""
    return torch.stack([torch.arange(n), torch.arange(1, n + 1) % n])


def random_problem(order: int, *batch: int, **options: Any) -> Problem:
    """Four nodes on each side, with edges if `order` is 2."""
    return quadratic(*batch, **options) if order == 2 else linear(*batch, 4, 4, **options)


def masks() -> dict[str, Any]:
    """Masks for three problems of four and five nodes (or edges of their rings), one of them without padded rows."""
    mask1 = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 0]]).bool()
    mask2 = torch.tensor([[1, 1, 1, 0, 1], [1, 1, 1, 1, 1], [0, 1, 0, 1, 1]]).bool()
    return {"mask1": mask1, "mask2": mask2}


def one_item(problem: Problem, item: int) -> Problem:
    """One problem of a batch; its edges are shared by all."""
    given = {name: getattr(problem, name) for name in ("mask1", "mask2", "edge_mask1", "edge_mask2")}
    own = {name: mask if mask is None else mask[item] for name, mask in given.items()}
    return replace(problem, scores=problem.scores.map(lambda x: x[item]), **own)

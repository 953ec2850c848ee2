"""The alignment loss: match every modality's graph with a barycenter, and count wrong pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from itertools import permutations
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..affinity import Cosine
from ..arguments import finite, flag, function
from ..compatibility import order_of
from ..differentiable import differentiable
from ..estimators import IMLE
from ..graphs import KNN, ModalityGraph
from ..metrics import matching_accuracy
from ..problem import NodeEdge, Problem, Solution
from ..solvers import Lap
from .hamming import correspondence, hamming

Match = Callable[..., Solution]
Barycenter = Literal["mean", "leave_one_out", "pairwise"]


@dataclass(frozen=True)
class AlignmentOutput:
    """What one step of the alignment loss found.

    Args:
        loss: Scalar with gradient: mean Hamming loss of all matchings, 0 (all right) to 2 (all wrong).
        matchings: `"image->barycenter"` and so on to the matching `(n, n)`, without gradient; a mean over samples where
            the estimator draws several.
        accuracy: Scalar: share of the matchings' mass that is correct.
        unmatched: Scalar: share of nodes left alone.
        converged: Scalar: share of matchings that met the solver's tolerance; None for solvers without one.
        residual: Scalar: the largest residual; None for solvers without one.
    """

    loss: Tensor
    matchings: Mapping[str, Tensor]
    accuracy: Tensor
    unmatched: Tensor
    converged: Tensor | None = None
    residual: Tensor | None = None


class AlignmentLoss(nn.Module):
    r"""Aligns two or more named modalities of the same samples by graph matching.

    Every modality is one graph whose nodes are the samples. With features $x^{(k)}$, graphs $G_k$, a barycenter graph
    $\bar G$ and the matching $\hat V(G, H)$ of two graphs:

    $$L = \frac{1}{2K} \sum_{k=1}^{K} \mathrm{Hamming}\bigl(\hat V(G_k, \bar G), I\bigr)
      + \mathrm{Hamming}\bigl(\hat V(\bar G, G_k), I\bigr)$$

    All $2K$ matchings (both directions) are solved in one call. Everything is computed in at least float32.

    Args:
        match: A differentiable solver, called as `match(problem, generator=...)`; a second-order one gets edge scores.
            By default `differentiable(Lap(), IMLE())`.
        graph: From features `(*b, n, d)` to a `ModalityGraph`; by default `KNN(k=5)`.
        encoder: A module called as `encoder(x, edge_index)` that gives new features for the scores, shared by all
            graphs, e.g. `MessagePassing(d)`; None for none.
        affinity: From two graphs to scores; by default `Cosine()`.
        barycenter: `mean`: the mean of all modalities' features, sample by sample, as in the paper. It contains the
            modality that is matched with it, which makes the task easy and the gradient small. `leave_one_out`: each
            modality has a barycenter of its own, the mean of the others. `pairwise`: each modality with each other one.
        unmatched: Score of leaving a node alone (see `Problem`), or None.
        normalize: Whether features are scaled to unit length before the barycenter is taken, so that no modality
            outweighs the others in it; the paper does not.

    Example:
        >>> import torch
        >>> views = {name: torch.randn(8, 16, requires_grad=True) for name in ("image", "answer", "caption")}
        >>> out = AlignmentLoss()(views, generator=torch.Generator().manual_seed(0))
        >>> sorted(out.matchings)[:2]
        ['answer->barycenter', 'barycenter->answer']

    References:
        "ExGra-Med: Extended Context Graph Alignment for Medical Vision-Language Models", NeurIPS 2025,
        arXiv 2410.02615, section 3.
    """

    def __init__(
        self,
        match: Match | None = None,
        *,
        graph: Callable[[Tensor], ModalityGraph] | None = None,
        encoder: nn.Module | None = None,
        affinity: Callable[..., NodeEdge] | None = None,
        barycenter: Barycenter = "mean",
        unmatched: float | None = None,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if barycenter not in ("mean", "leave_one_out", "pairwise"):
            raise ValueError(f"barycenter must be mean, leave_one_out or pairwise, not {barycenter!r}.")
        self.match = match if match is not None else differentiable(Lap(), IMLE())
        self.graph = graph if graph is not None else KNN()
        self.affinity = affinity if affinity is not None else Cosine()
        self.encoder, self.barycenter = encoder, barycenter
        self.unmatched, self.normalize = unmatched, normalize
        self._check_arguments()

    def forward(
        self, features: Mapping[str, Tensor], *, groups: Tensor | None = None, generator: Generator | None = None
    ) -> AlignmentOutput:
        """Returns the loss of one batch.

        Args:
            features: Name of the modality to its features `(n, d)`, two or more, sample i in row i of all.
            groups: Long `(n)`: samples with equal labels, e.g. duplicates, are interchangeable in the target.
            generator: Source of the estimator's noise.

        Raises:
            ValueError: Fewer than two modalities, no samples, or shapes that differ.
        """
        return self._align(partial(self.match, generator=generator), features, groups)

    @torch.no_grad()
    def evaluate(self, features: Mapping[str, Tensor], *, groups: Tensor | None = None) -> AlignmentOutput:
        """Returns the same figures from the solver alone: without noise and without gradient."""
        return self._align(getattr(self.match, "solver", self.match), features, groups)

    def _check_arguments(self) -> None:
        function(self, "match", "differentiable(Lap(), IMLE())")
        function(self, "graph", "knn(k=5)")
        function(self, "affinity", "cosine")
        function(self, "encoder", "MessagePassing(64)")
        if self.unmatched is not None:
            finite(self, "unmatched")
        flag(self, "normalize")

    def _align(self, match: Match, features: Mapping[str, Tensor], groups: Tensor | None) -> AlignmentOutput:
        _check(features)
        with torch.autocast(next(iter(features.values())).device.type, enabled=False):
            x = _stack(features)
            views, pairs = self._views(x, list(features))
            solution = match(self._problem(views, pairs))
            target = correspondence(x.shape[1], groups, x)
            return _output(hamming(solution.matching, target).mean(), solution, list(pairs), groups)

    def _views(self, x: Tensor, names: list[str]) -> tuple[Tensor, dict[str, tuple[int, int]]]:
        """The features of every graph `(V, n, d)`, and name -> (first graph, second graph) of every matching."""
        x = F.normalize(x, dim=-1) if self.normalize else x
        count = len(names)
        if self.barycenter == "pairwise":
            return x, {f"{names[i]}->{names[j]}": (i, j) for i, j in permutations(range(count), 2)}
        if self.barycenter == "mean":
            centers, place = x.mean(0, keepdim=True), [count] * count
        else:
            centers, place = (x.sum(0, keepdim=True) - x) / (count - 1), list(range(count, 2 * count))
        to = {f"{name}->barycenter": (i, place[i]) for i, name in enumerate(names)}
        back = {f"barycenter->{name}": (place[i], i) for i, name in enumerate(names)}
        return torch.cat([x, centers]), to | back

    def _problem(self, views: Tensor, pairs: Mapping[str, tuple[int, int]]) -> Problem:
        graph = self.graph(views)
        if self.encoder is not None:
            graph = graph.with_nodes(self.encoder(graph.x, graph.edge_index))
        first, second = (graph[list(side)] for side in zip(*pairs.values(), strict=True))
        scores = self.affinity(first, second, order=order_of(self.match))
        masks = {"edge_mask1": first.edge_mask, "edge_mask2": second.edge_mask}
        return Problem(scores, first.edge_index, second.edge_index, unmatched=self.unmatched, **masks)


def _check(features: Mapping[str, Tensor]) -> None:
    shapes = {name: tuple(x.shape) for name, x in features.items()}
    if len(shapes) < 2:
        raise ValueError(f"Alignment needs two or more modalities; got {len(shapes)}: {', '.join(shapes) or 'none'}.")
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise ValueError(f"All modalities need features of one shape (samples, width); got {shapes}.")
    if any(0 in shape for shape in shapes.values()):
        raise ValueError(f"Alignment needs at least one sample and one feature; got features of the shapes {shapes}.")


def _stack(features: Mapping[str, Tensor]) -> Tensor:
    """All modalities as one tensor `(K, n, d)`, float64 if any is, else float32."""
    precision = reduce(torch.promote_types, (x.dtype for x in features.values()), torch.float32)
    return torch.stack([x.to(precision) for x in features.values()])


def _output(loss: Tensor, solution: Solution, names: list[str], groups: Tensor | None) -> AlignmentOutput:
    matchings = solution.matching.detach()
    return AlignmentOutput(
        loss=loss,
        matchings=dict(zip(names, matchings, strict=True)),
        accuracy=matching_accuracy(matchings, groups).mean(),
        unmatched=1 - matchings.sum(-1).mean(),
        converged=None if solution.converged is None else solution.converged.float().mean(),
        residual=None if solution.residual is None else solution.residual.max(),
    )

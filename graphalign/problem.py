"""The matching problem: scores on pairs of nodes and pairs of edges, and their constraints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .arguments import check_device, check_tensor
from .edges import matched_sums, product_gradient, product_sums, table_gradient
from .problem_checks import (
    check_edge_mask,
    check_edges,
    check_forbidden,
    check_listed_seeds,
    check_mask,
    check_seeds,
    check_unmatched,
    check_wrapped,
    edge_counts,
    seed_pairs,
)
from .solution import Solution
from .vector import NodeEdge

__all__ = ["NodeEdge", "Problem", "Solution"]

#: Tensors that a problem may hold besides its scores, on the same device.
BESIDE_SCORES = ("edges1", "edges2", "mask1", "mask2", "edge_mask1", "edge_mask2", "forbidden", "seeds")


@dataclass(frozen=True, eq=False)
class Problem:
    r"""Find the matching of highest score.

    $$\max_{X \in \mathcal{M}} \; \sum_{ia} S_{ia} X_{ia}
      + \sum_{(ij) \in E_1, (ab) \in E_2} K_{(ij),(ab)} X_{ia} X_{jb}
      + \sum_{i \text{ alone}} u_i + \sum_{a \text{ alone}} v_a$$

    $S$ is `scores.node`, $K$ is `scores.edge` or $P Q^\top$ of `scores.factors`, $u$ and $v$ are `unmatched`.
    $\mathcal{M}$ holds the 0/1 matrices whose rows and columns sum to at most one, that are zero on padding and at
    forbidden pairs, and one at seeds. Where `unmatched` is None a matching must pair $\min(n, m)$ of the real nodes and
    the last two sums are left out; otherwise any number of pairs is allowed, and as a pair uses up two nodes, it is
    worth making (first order) exactly when $S_{ia} > u_i + v_a$.

    All leading batch dimensions are allowed. Edges, masks, seeds and forbidden pairs may have fewer of them; they are
    broadcast. Edge scores in a table have those of the node scores. Graphs of different size share a batch by padding:
    masks say which nodes and edges are real. Node indices in edges and seeds are checked on the CPU only, as elsewhere
    a look at them would wait for the device.

    Args:
        scores: Node scores `(*b, n, m)` and, in a second-order problem, edge scores, a table `(*b, e, f)` or factors
            `(*b, e, r)` and `(*b, f, r)`; higher is better. A node score of -inf forbids the pair.
        edges1: Long or int32 `(*b, 2, e)`: the edges of the first graph, pairs of node indices below n; needed with
            edge scores. An edge that touches a padded node counts for nothing.
        edges2: `(*b, 2, f)`: the edges of the second graph, pairs of node indices below m.
        mask1: Bool `(*b, n)`, True at the real nodes of the first graph; None if all are. Scores of padded nodes are
            never read.
        mask2: Bool `(*b, m)`, the same for the second graph.
        edge_mask1: Bool `(*b, e)`, True at the real edges of the first graph; None if all are. A padded edge counts for
            nothing and its scores are never read; in `edges1` it holds any indices that exist, e.g. 0 and 0.
        edge_mask2: Bool `(*b, f)`, the same for the second graph.
        unmatched: Score of leaving ONE node alone: a number for every node, or a pair (first graph, second graph) of
            numbers or tensors `(*b, n)` and `(*b, m)`; None where every node of the smaller side must be matched.
        init: A warm start, the `state` of an earlier solution. Of the built-in solvers `sinkhorn` takes potentials,
            and `faq` and `fgw` take a matching `(*b, n, m)`, relaxed or not; the others refuse one.
        forbidden: Bool `(*b, n, m)`, True at pairs that must not be made; their scores are never read.
        seeds: Fixed pairs, long `(*b, s, 2)` or a list of (row, column), which every matching makes, also where
            leaving the two nodes alone would score more. A pair (-1, -1) is padding of a batch.

    Raises:
        TypeError: The scores are not a `NodeEdge` of floating tensors; a mask is not a boolean tensor,
            edges or seeds are not whole numbers, or `unmatched` is not a number or a pair (it has no gradient).
        ValueError: Shapes or devices do not fit each other, an edge or a seed names a node that does not exist, two
            seeds share a node, a seed is forbidden or touches a padded node, or `unmatched` is a number that is not
            finite (in tensors solvers refuse one).

    Example: two graphs of one edge each; the edges say that 0 goes to 1, which the nodes know nothing of.

        >>> import torch
        >>> from graphalign import BruteForce, NodeEdge, Problem
        >>> edges1, edges2 = torch.tensor([[0], [1]]), torch.tensor([[1], [0]])
        >>> scores = NodeEdge(torch.zeros(2, 2), torch.ones(1, 1))
        >>> BruteForce()(Problem(scores, edges1, edges2)).matching
        tensor([[0., 1.],
                [1., 0.]])
    """

    scores: NodeEdge
    edges1: Tensor | None = None
    edges2: Tensor | None = None
    mask1: Tensor | None = None
    mask2: Tensor | None = None
    edge_mask1: Tensor | None = None
    edge_mask2: Tensor | None = None
    unmatched: float | tuple[float | Tensor, float | Tensor] | None = None
    init: Any = None
    forbidden: Tensor | None = None
    seeds: Any = None

    def __post_init__(self) -> None:
        check_wrapped(self.scores)
        node = self.scores.frame
        if node.dim() < 2 or 0 in node.shape[-2:]:
            raise ValueError(f"node scores need the shape (*batch, n, m) with n, m >= 1; got {tuple(node.shape)}")
        for part in (node, *self._edge_scores()):
            if not part.is_floating_point():
                raise TypeError(f"scores need a floating dtype, not {part.dtype}; convert them, e.g. with .float()")
        if not (self.scores.has_edges or self._has_constraints()):
            return  # what follows looks at these alone, and would cost a small batch as much as its solver
        object.__setattr__(self, "seeds", seed_pairs(self.seeds, node.device))
        self._check_devices()
        batch, n, m = node.shape[:-2], *node.shape[-2:]
        check_unmatched(self.unmatched, batch, (n, m))
        check_mask("mask1", self.mask1, batch, n)
        check_mask("mask2", self.mask2, batch, m)
        check_forbidden(self.forbidden, node)
        e, f = edge_counts(self.scores)
        for name, count, nodes in (("edges1", e, n), ("edges2", f, m)):
            edges = getattr(self, name)
            check_edges(name, edges, batch, count, nodes)
            if edges is not None and edges.dtype != torch.long:
                object.__setattr__(self, name, edges.long())
        check_edge_mask("edge_mask1", self.edge_mask1, self.edges1, batch)
        check_edge_mask("edge_mask2", self.edge_mask2, self.edges2, batch)
        if self.seeds is not None:
            everything = torch.ones((), dtype=torch.bool, device=node.device).expand(node.shape)
            check_seeds(self.seeds, self._possible() if self.scores.is_table else everything, node, self.forbidden)
            if not self.scores.is_table:
                check_listed_seeds(self.seeds, self.scores, self.forbidden, (self.real1(), self.real2()))

    def _has_constraints(self) -> bool:
        beside = (self.forbidden, self.seeds, self.unmatched, self.edge_mask1, self.edge_mask2)
        return any(x is not None for x in (self.edges1, self.edges2, self.mask1, self.mask2, *beside))

    def _check_devices(self) -> None:
        device = self.scores.frame.device
        for part in self._edge_scores():
            check_device("the tensor of edge scores", part, device, "the node scores")
        for name in BESIDE_SCORES:
            x = getattr(self, name)
            if x is not None:
                check_tensor(f"`{name}`", x)
                check_device(f"`{name}`", x, device, "the node scores")

    def _edge_scores(self) -> list[Tensor]:
        return [x for x in (self.scores.edge, *(self.scores.factors or ())) if x is not None]

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions `(*b)`, empty for a single problem."""
        return self.scores.frame.shape[:-2]

    @property
    def is_constrained(self) -> bool:
        """Whether some pairs of a table of scores must be made or must not: seeds, forbidden pairs or padded nodes."""
        asked = (self.seeds, self.forbidden, self.mask1, self.mask2)
        return self.scores.is_table and any(part is not None for part in asked)

    def with_scores(self, scores: NodeEdge, init: Any = None) -> Problem:
        """Return the same problem with other scores (leading dimensions may be added) and another warm start."""
        return replace(self, scores=scores, init=init)

    def real1(self) -> Tensor:
        """Return bool `(*b, n)`: the real nodes of the first graph."""
        return _real(self.mask1, self.scores.frame, -2)

    def real2(self) -> Tensor:
        """Return bool `(*b, m)`: the real nodes of the second graph."""
        return _real(self.mask2, self.scores.frame, -1)

    def seeded(self) -> Tensor:
        """Return bool `(*b, n, m)`: the pairs that are fixed."""
        node = self.scores.node
        out = torch.zeros(node.shape, dtype=torch.bool, device=node.device)
        if self.seeds is None:
            return out
        rows, cols = self.seeds.expand(*self.batch_shape, *self.seeds.shape[-2:]).unbind(-1)
        # Padding writes to one place beyond the matrix.
        places = torch.where(rows >= 0, rows * node.shape[-1] + cols, node.shape[-2] * node.shape[-1])
        flat = torch.nn.functional.pad(out.flatten(-2), (0, 1))
        return flat.scatter(-1, places, True)[..., :-1].reshape(node.shape)

    def allowed(self) -> Tensor:
        """Return bool `(*b, n, m)`: the pairs that some matching may make, seeds included.

        Those are pairs of two real nodes that are not forbidden, and of whose nodes none is fixed to another one.
        """
        if self.seeds is None:
            return self._possible()
        seeded = self.seeded()
        taken = seeded.any(-1, keepdim=True) | seeded.any(-2, keepdim=True)
        return self._possible() & (seeded | ~taken)

    def _possible(self) -> Tensor:
        """The pairs of two real nodes that are not forbidden, whatever the seeds are."""
        pairs = self.real1()[..., :, None] & self.real2()[..., None, :] & ~self.scores.node.isneginf()
        return pairs if self.forbidden is None else pairs & ~self.forbidden

    def alone(self) -> tuple[Tensor, Tensor]:
        """Return the scores of staying alone, `(*b, n)` and `(*b, m)`; zeros on padding and where `unmatched` is None.

        They are float64 where they are numbers, as the difference to a score decides.
        """
        node = self.scores.frame
        pair = self.unmatched if isinstance(self.unmatched, tuple) else (self.unmatched or 0.0,) * 2
        first, second = (torch.as_tensor(x, device=node.device, dtype=torch.float64) for x in pair)
        first, second = first.expand(node.shape[:-1]), second.expand(*node.shape[:-2], node.shape[-1])
        if self.mask1 is not None:
            first = torch.where(self.real1(), first, 0.0)
        return first, second if self.mask2 is None else torch.where(self.real2(), second, 0.0)

    def allowed_edges(self) -> Tensor:
        """Return bool `(*b, e, f)`: the pairs of two real edges; one that touches a padded node is none."""
        first, second = self.real_edges()
        return first[..., :, None] & second[..., None, :]

    def real_edges(self) -> tuple[Tensor, Tensor]:
        """Return bool `(*b, e)` and `(*b, f)`: the real edges of both graphs, those without a padded node."""
        first = _real_edges(self.edges1, self.edge_mask1, self.real1(), "edges1")
        return first, _real_edges(self.edges2, self.edge_mask2, self.real2(), "edges2")

    def masked(self) -> Problem:
        """Return the problem with zero scores, and no gradient, wherever a matching never reads them.

        Those are padded nodes, forbidden pairs, pairs that the seeds decide, and edges that are not real. Pairs
        of a score of -inf then are forbidden ones. Seeds keep their scores, without a gradient.
        """
        if not self.scores.is_table:
            return written_out(self).masked()
        node, masks = self.scores.node, (self.mask1, self.mask2)
        padded_nodes = any(mask is not None for mask in masks)
        padded_edges = padded_nodes or self.edge_mask1 is not None or self.edge_mask2 is not None
        forbidden = self._all_forbidden()
        working = self if forbidden is self.forbidden else replace(self, forbidden=forbidden)
        if padded_nodes or forbidden is not None or self.seeds is not None:
            node = torch.where(working.allowed(), node, 0.0)
        if self.seeds is not None:
            node = torch.where(self.seeded(), node.detach(), node)
        scores = replace(self.scores, node=node)
        if padded_edges and scores.edge is not None:
            scores = replace(scores, edge=torch.where(self.allowed_edges(), scores.edge, 0.0))
        if padded_edges and scores.factors is not None:
            kept = zip(self.real_edges(), scores.factors, strict=True)
            first, second = (torch.where(real[..., None], factor, 0.0) for real, factor in kept)
            scores = replace(scores, factors=(first, second))
        return working if node is self.scores.node and not padded_edges else replace(working, scores=scores)

    def _all_forbidden(self) -> Tensor | None:
        """Forbidden pairs, those of a score of -inf included; the same tensor where there are none of these."""
        node = self.scores.node.detach()
        # The sum of finite scores is finite or overflows, so that one pass is enough for most.
        if bool(node.sum().isfinite()):
            return self.forbidden
        infinite = node.isneginf() & self.real1()[..., :, None] & self.real2()[..., None, :]
        if not bool(infinite.any()):
            return self.forbidden
        return infinite if self.forbidden is None else infinite | self.forbidden

    def value(self, matching: Tensor) -> NodeEdge:
        r"""Return a matching `(*b, n, m)` in the space of the scores, with the edge part that it has.

        For a table that is `edge_matching`, and for factors $Y Q$ and $Y^\top P$ of it. One matching may be a sparse
        tensor `(n, m)` of ones.
        """
        if self.scores.edge is not None:
            return NodeEdge(matching, self.edge_matching(matching))
        if self.scores.factors is None:
            return NodeEdge(matching)
        if matching.layout != torch.strided:
            return self._value_of_pairs(matching)
        parts = []
        with torch.set_grad_enabled(torch.is_grad_enabled() and matching.requires_grad):
            for x, first, second, ends1, ends2, real1, real2 in self._factored(matching):
                u, v = product_sums(x, ends1, ends2, first, second)
                parts.append((torch.where(real1[:, None], u, 0.0), torch.where(real2[:, None], v, 0.0)))
        u, v = (
            torch.stack(list(part)).reshape(*matching.shape[:-2], *part[0].shape) for part in zip(*parts, strict=True)
        )
        return NodeEdge(matching, factors=(u, v))

    def _value_of_pairs(self, matching: Tensor) -> NodeEdge:
        assert self.scores.factors is not None
        rows, cols = matching.coalesce().indices()
        first, second = _both_edges(self)
        parts = matched_sums(rows, cols, matching.shape, first, second, *(x.detach() for x in self.scores.factors))
        kept = zip(self.real_edges(), parts, strict=True)
        u, v = (torch.where(real[:, None], part, 0.0) for real, part in kept)
        return NodeEdge(matching, factors=(u, v))

    def edge_gradient(self, matching: Tensor) -> Tensor:
        r"""Return the derivative of the sum over pairs of edges by the matching, `(*b, n, m)`, without a gradient."""
        if self.scores.factors is not None:
            single = [
                product_gradient(first, second, ends1, ends2, x)
                for x, first, second, ends1, ends2, *_ in self._factored(matching.detach())
            ]
        else:
            single = [table_gradient(*one) for one in self._tabled(matching.detach())]
        return torch.stack(single).reshape(matching.shape)

    def _factored(self, matching: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Each problem's matching, factors, edges and real edges; factors are zero at edges that are not real."""
        assert self.scores.factors is not None
        batch, real = matching.shape[:-2], self.real_edges()
        factors = (
            torch.where(kept[..., None], factor.detach(), 0.0)
            for kept, factor in zip(real, self.scores.factors, strict=True)
        )
        matrices = (matching, *factors, *_both_edges(self))
        flat = [x.expand(*batch, *x.shape[-2:]).reshape(batch.numel(), *x.shape[-2:]) for x in matrices]
        flat += [x.expand(*batch, x.shape[-1]).reshape(batch.numel(), x.shape[-1]) for x in real]
        return zip(*flat, strict=True)

    def _tabled(self, matching: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Each problem's table, edges and matching."""
        assert self.scores.edge is not None
        batch, matrices = matching.shape[:-2], (self.scores.edge.detach(), *_both_edges(self), matching)
        return zip(
            *(x.expand(*batch, *x.shape[-2:]).reshape(batch.numel(), *x.shape[-2:]) for x in matrices), strict=True
        )

    def edge_matching(self, matching: Tensor) -> Tensor:
        """Return $X_{ia} X_{jb}$ for every pair of edges $(ij), (ab)$, `(*b, e, f)`, differentiable in `matching`.

        It is zero at padded edges.
        """
        first, second = _both_edges(self)
        pairs = _pick(matching, first[..., 0, :], second[..., 0, :]) * _pick(
            matching, first[..., 1, :], second[..., 1, :]
        )
        if self.edge_mask1 is not None:
            pairs = torch.where(self.edge_mask1[..., :, None], pairs, 0.0)
        return pairs if self.edge_mask2 is None else torch.where(self.edge_mask2[..., None, :], pairs, 0.0)


def _both_edges(problem: Problem) -> tuple[Tensor, Tensor]:
    if problem.edges1 is None or problem.edges2 is None:
        raise ValueError("this problem has no edges; give edges1 and edges2")
    return problem.edges1, problem.edges2


def written_out(problem: Problem) -> Problem:
    """Return the problem with a table of node scores.

    Raises:
        ValueError: The scores are a sparse tensor, or `Factors` of too many pairs.
    """
    if problem.scores.frame.layout != torch.strided:
        raise ValueError("scores in a sparse tensor hold some pairs only; the solver sparse takes them")
    scores = NodeEdge(problem.scores.node, problem.scores.edge, problem.scores.factors)
    return replace(
        problem, scores=scores, forbidden=None if problem.forbidden is None else problem.forbidden.to_dense()
    )


def _real(mask: Tensor | None, node: Tensor, dim: int) -> Tensor:
    shape = (*node.shape[:-2], node.shape[dim])
    return torch.ones(shape, dtype=torch.bool, device=node.device) if mask is None else mask.expand(shape)


def _real_edges(edges: Tensor | None, mask: Tensor | None, nodes: Tensor, name: str) -> Tensor:
    """Which edges of one graph are real, `(*b, e)`, given which of its nodes are."""
    if edges is None:
        raise ValueError(f"this problem has no edges; give {name}")
    ends = edges.expand(*nodes.shape[:-1], *edges.shape[-2:])
    inside = nodes.gather(-1, ends[..., 0, :]) & nodes.gather(-1, ends[..., 1, :])
    return inside if mask is None else inside & mask


def _pick(x: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Return x[..., rows, cols] as an outer selection `(*b, e, f)`; the indices' batch dimensions are broadcast."""
    batch, e, f = x.shape[:-2], rows.shape[-1], cols.shape[-1]
    rows = rows[..., :, None].expand(*batch, e, x.shape[-1])
    return x.gather(-2, rows).gather(-1, cols[..., None, :].expand(*batch, e, f))

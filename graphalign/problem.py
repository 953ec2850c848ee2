"""What is matched: scores on pairs of nodes and pairs of edges, and the constraints around them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .arguments import check_device, check_tensor


@dataclass(frozen=True, eq=False)
class NodeEdge:
    """A vector with a node part and an optional edge part.

    Scores, matchings, noise and gradients all live in this one space, so that an estimator reads as it does on
    paper: `scores - lam * grad`.

    Args:
        node: Tensor `(*b, n, m)`, one entry for each pair of nodes.
        edge: Tensor `(*b, e, f)`, one entry for each pair of edges, or None in a first-order problem.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge
        >>> scores = NodeEdge(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]))
        >>> (scores - 0.5 * scores).node
        tensor([[0.5000, 1.0000]])
        >>> scores.dot(scores)
        tensor(14.)
    """

    node: Tensor
    edge: Tensor | None = None

    def map(self, fn: Callable[..., Tensor], *others: NodeEdge) -> NodeEdge:
        """Applies `fn` to the node parts and, where there are any, to the edge parts."""
        if self.edge is None:
            return NodeEdge(fn(self.node, *(o.node for o in others)))
        return NodeEdge(fn(self.node, *(o.node for o in others)), fn(self.edge, *(o.edge for o in others)))

    def __add__(self, other: NodeEdge) -> NodeEdge:
        return self.map(torch.add, other)

    def __sub__(self, other: NodeEdge) -> NodeEdge:
        return self.map(torch.sub, other)

    def __mul__(self, scale: float | Tensor) -> NodeEdge:
        """Multiplies by a number, or by a tensor `(*b)` that has one number for each problem of the batch."""
        factor = scale[..., None, None] if isinstance(scale, Tensor) else scale
        return self.map(lambda x: x * factor)

    __rmul__ = __mul__

    def dot(self, other: NodeEdge) -> Tensor:
        """Returns $\\langle x, y\\rangle$ of every problem, node and edge parts together, `(*b)`."""
        total = (self.node * other.node).sum((-2, -1))
        if self.edge is not None and other.edge is not None:
            total = total + (self.edge * other.edge).sum((-2, -1))
        return total

    def amax(self) -> Tensor:
        """Returns the largest absolute entry of every problem, node and edge parts together, `(*b)`."""
        return torch.cat([x.abs().flatten(-2) for x in self.tensors()], -1).amax(-1)

    def mean(self, dim: int) -> NodeEdge:
        """Returns the mean over the batch dimension `dim`."""
        return self.map(lambda x: x.mean(dim))

    def detach(self) -> NodeEdge:
        """Returns the same values without their history."""
        return self.map(torch.Tensor.detach)

    def to(self, dtype: torch.dtype) -> NodeEdge:
        """Returns the vector in another dtype; gradients flow through the conversion."""
        return self.map(lambda x: x.to(dtype))

    def tensors(self) -> tuple[Tensor, ...]:
        """Returns the parts that are there: `(node,)` or `(node, edge)`."""
        return (self.node,) if self.edge is None else (self.node, self.edge)


#: What a problem may hold besides its scores, on the same device.
BESIDE_SCORES = ("edges1", "edges2", "mask1", "mask2", "edge_mask1", "edge_mask2")


@dataclass(frozen=True, eq=False)
class Problem:
    r"""Find the matching of highest score.

    $$\max_{X \in \mathcal{M}} \; \sum_{ia} S_{ia} X_{ia}
      + \sum_{(ij) \in E_1, (ab) \in E_2} K_{(ij),(ab)} X_{ia} X_{jb}
      + u \,\bigl(\#\text{nodes left alone, on both sides}\bigr)$$

    $S$ is `scores.node`, $K$ is `scores.edge`, $u$ is `unmatched`. $\mathcal{M}$ holds the 0/1 matrices whose rows
    and columns sum to at most one and that are zero on padding. Where `unmatched` is None a matching must pair
    $\min(n, m)$ of the real nodes and no term $u$ is counted; otherwise any number of pairs is allowed, and as a pair
    takes two nodes out of loneliness, it is worth making (first order) exactly when $S_{ia} > 2u$.

    All leading batch dimensions are allowed. Edges and masks may have fewer of them; they are broadcast. Edge scores
    have those of the node scores. Graphs of different size share a batch by padding: masks say which nodes and edges
    are real. Node indices in edges are checked on the CPU only, as elsewhere a look at them would wait for the device.

    Args:
        scores: Node scores `(*b, n, m)` and, in a second-order problem, edge scores `(*b, e, f)`; higher is better.
        edges1: Long `(*b, 2, e)`: the edges of the first graph, pairs of node indices below n; needed with edge scores.
            An edge that touches a padded node counts for nothing.
        edges2: Long `(*b, 2, f)`: the edges of the second graph, pairs of node indices below m.
        mask1: Bool `(*b, n)`, True at the real nodes of the first graph; None if all are. Scores of padded nodes are
            never read.
        mask2: Bool `(*b, m)`, the same for the second graph.
        edge_mask1: Bool `(*b, e)`, True at the real edges of the first graph; None if all are. A padded edge counts for
            nothing and its scores are never read; in `edges1` it holds any indices that exist, e.g. 0 and 0.
        edge_mask2: Bool `(*b, f)`, the same for the second graph.
        unmatched: Score of leaving ONE node alone; None where every node of the smaller side must be matched.
        init: A warm start, the `state` of an earlier solution; solvers that have none ignore it.

    Raises:
        TypeError: The scores are no `NodeEdge` of tensors, or not of a floating dtype; a mask is no boolean tensor,
            edges are no long one, or `unmatched` no number (it has no gradient).
        ValueError: Shapes or devices do not fit each other, an edge names a node that is not there, or `unmatched` is
            not finite.

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
    unmatched: float | None = None
    init: Any = None

    def __post_init__(self) -> None:
        _check_wrapped(self.scores)
        node = self.scores.node
        if node.dim() < 2 or 0 in node.shape[-2:]:
            raise ValueError(f"Node scores need the shape (*batch, n, m) with n, m >= 1; got {tuple(node.shape)}.")
        for part in self.scores.tensors():
            if not part.is_floating_point():
                raise TypeError(f"Scores need a floating dtype, not {part.dtype}. Convert them, e.g. with .float().")
        _check_number("unmatched", self.unmatched)
        self._check_devices()
        batch, n, m = node.shape[:-2], *node.shape[-2:]
        _check_mask("mask1", self.mask1, batch, n)
        _check_mask("mask2", self.mask2, batch, m)
        e, f = _edge_counts(self.scores.edge, batch)
        _check_edges("edges1", self.edges1, batch, e, n)
        _check_edges("edges2", self.edges2, batch, f, m)
        _check_edge_mask("edge_mask1", self.edge_mask1, self.edges1, batch)
        _check_edge_mask("edge_mask2", self.edge_mask2, self.edges2, batch)

    def _check_devices(self) -> None:
        device = self.scores.node.device
        if self.scores.edge is not None:
            check_device("The tensor of edge scores", self.scores.edge, device, "the node scores")
        for name in BESIDE_SCORES:
            x = getattr(self, name)
            if x is not None:
                check_tensor(f"`{name}`", x)
                check_device(f"`{name}`", x, device, "the node scores")

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions `(*b)`, empty for a single problem."""
        return self.scores.node.shape[:-2]

    def with_scores(self, scores: NodeEdge, init: Any = None) -> Problem:
        """Returns the same problem with other scores (leading dimensions may be added) and another warm start."""
        return replace(self, scores=scores, init=init)

    def real1(self) -> Tensor:
        """Returns bool `(*b, n)`: the real nodes of the first graph."""
        return _real(self.mask1, self.scores.node, -2)

    def real2(self) -> Tensor:
        """Returns bool `(*b, m)`: the real nodes of the second graph."""
        return _real(self.mask2, self.scores.node, -1)

    def allowed(self) -> Tensor:
        """Returns bool `(*b, n, m)`: the pairs of two real nodes."""
        return self.real1()[..., :, None] & self.real2()[..., None, :]

    def allowed_edges(self) -> Tensor:
        """Returns bool `(*b, e, f)`: the pairs of two real edges; one that touches a padded node is none."""
        first = _real_edges(self.edges1, self.edge_mask1, self.real1(), "edges1")
        second = _real_edges(self.edges2, self.edge_mask2, self.real2(), "edges2")
        return first[..., :, None] & second[..., None, :]

    def masked(self) -> Problem:
        """Returns the problem with zero scores, and no gradient, at padded nodes and at edges that are not real."""
        node, edge = self.scores.node, self.scores.edge
        padded_nodes = self.mask1 is not None or self.mask2 is not None
        padded_edges = padded_nodes or self.edge_mask1 is not None or self.edge_mask2 is not None
        if padded_nodes:
            node = torch.where(self.allowed(), node, 0.0)
        if edge is not None and padded_edges:
            edge = torch.where(self.allowed_edges(), edge, 0.0)
        return replace(self, scores=NodeEdge(node, edge)) if padded_edges else self

    def edge_matching(self, matching: Tensor) -> Tensor:
        """Returns $X_{ia} X_{jb}$ for every pair of edges $(ij), (ab)$, `(*b, e, f)`, differentiable in `matching`.

        It is zero at padded edges.
        """
        if self.edges1 is None or self.edges2 is None:
            raise ValueError("This problem has no edges; give edges1 and edges2.")
        sources = _pick(matching, self.edges1[..., 0, :], self.edges2[..., 0, :])
        pairs = sources * _pick(matching, self.edges1[..., 1, :], self.edges2[..., 1, :])
        if self.edge_mask1 is not None:
            pairs = torch.where(self.edge_mask1[..., :, None], pairs, 0.0)
        return pairs if self.edge_mask2 is None else torch.where(self.edge_mask2[..., None, :], pairs, 0.0)


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver found.

    Args:
        value: The matching, as a vector in the space of the scores: 0/1, or in between for relaxed solvers.
        converged: Bool `(*b)`: whether the solver met its tolerance; None where that has no meaning.
        residual: Float `(*b)`: how far from feasible or optimal it stopped, in the solver's own words; or None.
        state: What a warm start needs (`Problem.init`), or None.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Problem, Sinkhorn
        >>> problem = Problem(NodeEdge(torch.eye(2)))
        >>> solution = Sinkhorn(tau=1.0)(problem)
        >>> bool(solution.converged), solution.matching.shape
        (True, torch.Size([2, 2]))
        >>> again = Sinkhorn(tau=1.0)(problem.with_scores(problem.scores, init=solution.state))
    """

    value: NodeEdge
    converged: Tensor | None = None
    state: Any = None
    residual: Tensor | None = None

    @property
    def matching(self) -> Tensor:
        """The node part of `value`, `(*b, n, m)`."""
        return self.value.node


def _check_wrapped(scores: object) -> None:
    if not isinstance(scores, NodeEdge):
        raise TypeError(f"Scores must be a NodeEdge, not {type(scores).__name__}, e.g. Problem(NodeEdge(scores)).")
    check_tensor("Node scores", scores.node)
    if scores.edge is not None:
        check_tensor("Edge scores", scores.edge)


def _check_number(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"`{name}` must be a number or None, not {type(value).__name__}, e.g. float(...) of it.")
    if not math.isfinite(value):
        raise ValueError(f"`{name}` must be a finite number or None, not {value}.")


def _check_mask(name: str, mask: Tensor | None, batch: torch.Size, size: int) -> None:
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(f"`{name}` must be boolean, True at what is real; got {mask.dtype}.")
    if mask.dim() < 1 or mask.shape[-1] != size:
        raise ValueError(f"`{name}` needs the shape (*batch, {size}) to fit the problem; got {tuple(mask.shape)}.")
    _check_batch(name, mask.shape[:-1], batch)


def _edge_counts(edge: Tensor | None, batch: torch.Size) -> tuple[int | None, int | None]:
    """The number of edges in both graphs, by the edge scores; None where there are none."""
    if edge is None:
        return None, None
    if edge.dim() < 2 or edge.shape[:-2] != batch:
        raise ValueError(
            f"Edge scores need the shape (*batch, e, f) with the batch dimensions {tuple(batch)} of the node scores; "
            f"got {tuple(edge.shape)}."
        )
    return edge.shape[-2], edge.shape[-1]


def _check_edges(name: str, edges: Tensor | None, batch: torch.Size, size: int | None, nodes: int) -> None:
    """Checks the edges of a graph of `nodes` nodes; `size` is how many the edge scores have, if there are any."""
    if edges is None:
        if size is not None:
            raise ValueError(f"Edge scores need `{name}`: a long tensor (*batch, 2, {size}) of node indices.")
        return
    if edges.dim() < 2 or edges.shape[-2] != 2 or size not in (None, edges.shape[-1]):
        wanted = f"(*batch, 2, {'edges' if size is None else size})"
        raise ValueError(f"`{name}` needs the shape {wanted} to fit the edge scores; got {tuple(edges.shape)}.")
    if edges.dtype != torch.long:
        raise TypeError(f"`{name}` must hold node indices as torch.long; got {edges.dtype}.")
    _check_batch(name, edges.shape[:-2], batch)
    # On a GPU this would make the caller wait for all work that was queued before.
    if edges.device.type == "cpu" and edges.numel():
        low, high = (int(x) for x in edges.aminmax())
        if low < 0 or high >= nodes:
            raise ValueError(
                f"`{name}` must hold node indices from 0 to {nodes - 1}; got indices from {low} to {high}."
            )


def _check_edge_mask(name: str, mask: Tensor | None, edges: Tensor | None, batch: torch.Size) -> None:
    if mask is None:
        return
    if edges is None:
        raise ValueError(f"`{name}` says which edges are real, and there are no edges; give edges{name[-1]} too.")
    _check_mask(name, mask, batch, edges.shape[-1])


def _check_batch(name: str, given: torch.Size, batch: torch.Size) -> None:
    """Refuses batch dimensions that do not broadcast to those of the scores."""
    fits = all(a in (1, b) for a, b in zip(reversed(given), reversed(batch), strict=False))
    if len(given) > len(batch) or not fits:
        raise ValueError(
            f"`{name}` has the batch dimensions {tuple(given)}, which do not broadcast to {tuple(batch)}, those of the "
            f"node scores."
        )


def _real(mask: Tensor | None, node: Tensor, dim: int) -> Tensor:
    shape = (*node.shape[:-2], node.shape[dim])
    return torch.ones(shape, dtype=torch.bool, device=node.device) if mask is None else mask.expand(shape)


def _real_edges(edges: Tensor | None, mask: Tensor | None, nodes: Tensor, name: str) -> Tensor:
    """Which edges of one graph are real, `(*b, e)`, given which of its nodes are."""
    if edges is None:
        raise ValueError(f"This problem has no edges; give {name}.")
    ends = edges.expand(*nodes.shape[:-1], *edges.shape[-2:])
    inside = nodes.gather(-1, ends[..., 0, :]) & nodes.gather(-1, ends[..., 1, :])
    return inside if mask is None else inside & mask


def _pick(x: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Returns x[..., rows, cols] as an outer selection `(*b, e, f)`; the indices' batch dimensions are broadcast."""
    batch, e, f = x.shape[:-2], rows.shape[-1], cols.shape[-1]
    rows = rows[..., :, None].expand(*batch, e, x.shape[-1])
    return x.gather(-2, rows).gather(-1, cols[..., None, :].expand(*batch, e, f))

"""The space in which scores, matchings, noise and gradients live: a part for nodes, and one for edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class NodeEdge:
    r"""A vector with a node part and an optional edge part, which is a table or a sum of products.

    Scores, matchings, noise and gradients all live in this one space, so that an estimator reads as it does on
    paper: `scores - lam * grad`.

    Args:
        node: Tensor `(*b, n, m)`, one entry for each pair of nodes.
        edge: Tensor `(*b, e, f)`, one entry for each pair of edges, or None.
        factors: In place of `edge`, a pair $P$ `(*b, e, r)` and $Q$ `(*b, f, r)`. As scores they mean the table
            $K = P Q^\top$, which is never written out. As a matching or a gradient $Y$ they mean what a table $Y$
            gives the factors of the scores: $Y Q$ and $Y^\top P$. Factors of scores may have fewer batch dimensions
            than the node scores.

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
    factors: tuple[Tensor, Tensor] | None = None

    @property
    def frame(self) -> Tensor:
        """A tensor of the shape, dtype and device of the node part, whose values mean nothing."""
        return self.node

    @property
    def is_table(self) -> bool:
        """Whether every entry of the node part is written out."""
        return self.node.layout == torch.strided

    @property
    def has_edges(self) -> bool:
        """Whether there is an edge part, in either form."""
        return self.edge is not None or self.factors is not None

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the parts that are there: `(node,)`, `(node, edge)`, or `(node, P, Q)`."""
        if self.factors is not None:
            return (self.node, *self.factors)
        return (self.node,) if self.edge is None else (self.node, self.edge)

    @classmethod
    def of(cls, *parts: Tensor) -> NodeEdge:
        """Return the vector of the parts that `tensors` gives."""
        if len(parts) == 3:
            return cls(parts[0], factors=(parts[1], parts[2]))
        return cls(parts[0], parts[1] if len(parts) == 2 else None)

    def map(self, fn: Callable[..., Tensor], *others: NodeEdge) -> NodeEdge:
        """Apply `fn` to the node parts and, where there are any, to the edge parts."""
        return NodeEdge.of(*(fn(*parts) for parts in zip(self.tensors(), *(o.tensors() for o in others), strict=True)))

    def __add__(self, other: NodeEdge) -> NodeEdge:
        return self.map(torch.add, other)

    def __sub__(self, other: NodeEdge) -> NodeEdge:
        return self.map(torch.sub, other)

    def __mul__(self, scale: float | Tensor) -> NodeEdge:
        """Multiply by a number, or by a tensor `(*b)` that has one number for each problem of the batch."""
        factor = scale[..., None, None] if isinstance(scale, Tensor) else scale
        return self.map(lambda x: x * factor)

    __rmul__ = __mul__

    def dot(self, other: NodeEdge) -> Tensor:
        r"""Return $\langle x, y\rangle$ of every problem, node and edge parts together, `(*b)`.

        For scores $P, Q$ and a matching $Y Q, Y^\top P$ the edge part is $\langle P Q^\top, Y\rangle$, which either
        product gives. The value is that of the first one; the gradient flows to both factors.
        """
        total = (self.node * other.node).sum((-2, -1))
        if self.factors is not None and other.factors is not None:
            first, second = ((x * y).sum((-2, -1)) for x, y in zip(self.factors, other.factors, strict=True))
            return total + first + (second - second.detach())
        if self.edge is not None and other.edge is not None:
            total = total + (self.edge * other.edge).sum((-2, -1))
        return total

    def amax(self) -> Tensor:
        """Return the largest absolute entry of every problem, node and edge parts together, `(*b)`."""
        tops = [x.abs().flatten(-2).amax(-1) for x in self.tensors() if x.shape[-1] * x.shape[-2] > 0]
        return reduce(torch.maximum, tops)

    def mean(self, dim: int) -> NodeEdge:
        """Return the mean over the batch dimension `dim`."""
        return self.map(lambda x: x.mean(dim))

    def detach(self) -> NodeEdge:
        """Return the same values without their history."""
        return self.map(torch.Tensor.detach)

    def to(self, dtype: torch.dtype) -> NodeEdge:
        """Return the vector in another dtype; gradients flow through the conversion."""
        return self.map(lambda x: x.to(dtype))

"""Scores of node pairs that are not written out: two sets of features and an affinity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .affinity import Cosine, Gaussian, InnerProduct
from .arguments import check_device, check_tensor
from .graphs.modality_graph import ModalityGraph
from .vector import NodeEdge

#: Affinities that can be computed block by block.
BLOCKWISE = (Cosine, InnerProduct, Gaussian)
#: More scores than this are not written out for a solver that needs them all.
MOST_WRITTEN = 2**30


class Factors(NodeEdge):
    r"""Node scores $S_{ia} = \kappa(x_i, y_a) + r_i + c_a$ that are computed where they are needed.

    They go where a table of node scores goes: `Problem(Factors(x, y))`. The solvers `sparse` and `sinkhorn` compute
    blocks of them, in memory that grows with $n + m$. Other solvers write the table out, up to $2^{30}$ scores.
    Gradients flow to features and terms.

    The scores are those of the features as they are, in real arithmetic: a bound of `sparse` holds for these.

    Args:
        x: Features of the rows, `(n, d)`, float32 or float64.
        y: Features of the columns, `(m, d)`, of the same dtype and device.
        affinity: $\kappa$: `Cosine()` (the default), `InnerProduct()` or `Gaussian()`.
        row_terms: $r$, `(n,)`, or None.
        column_terms: $c$, `(m,)`, or None.
        factors: Edge scores of a second-order problem, as in `NodeEdge`: $P$ `(e, r)` and $Q$ `(f, r)`; or None.

    Raises:
        TypeError: Features are not floating tensors of one dtype, or the affinity is another one.
        ValueError: Shapes or devices do not fit.

    Example:
        >>> import torch
        >>> from graphalign import Factors, Lap, Problem
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> Lap()(Problem(Factors(x, x.flip(0)))).matching
        tensor([[0., 1.],
                [1., 0.]])
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        affinity: Any = None,
        *,
        row_terms: Tensor | None = None,
        column_terms: Tensor | None = None,
        factors: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        _check_features(x, y)
        affinity = Cosine() if affinity is None else affinity
        if not isinstance(affinity, BLOCKWISE):
            known = ", ".join(f"{kind.__name__}()" for kind in BLOCKWISE)
            raise TypeError(f"Factors: the affinity must be one of {known}, not {type(affinity).__name__}")
        for name, terms, like in (("row_terms", row_terms, x), ("column_terms", column_terms, y)):
            if terms is not None:
                _check_terms(name, terms, like)
        own: dict[str, Any] = {"x": x, "y": y, "affinity": affinity, "factors": factors}
        own |= {"row_terms": row_terms, "column_terms": column_terms}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    x: Tensor
    y: Tensor
    affinity: Cosine | InnerProduct | Gaussian
    row_terms: Tensor | None
    column_terms: Tensor | None

    @property
    def node(self) -> Tensor:
        """The scores, written out, `(n, m)`; computed at every call.

        Raises:
            ValueError: They are more than $2^{30}$.
        """
        n, m = len(self.x), len(self.y)
        if n * m > MOST_WRITTEN:
            raise ValueError(
                f"the scores of {n:,} x {m:,} pairs are not written out, as they would take "
                f"{n * m * self.x.itemsize / 2**30:.0f} GB: use the solver sparse or sinkhorn, which need no table"
            )
        return self.block(self.x, self.y, self.row_terms, self.column_terms)

    def block(self, x: Tensor, y: Tensor, row_terms: Tensor | None, column_terms: Tensor | None) -> Tensor:
        """Return the scores of some rows and columns `(*b, rows, columns)`, given their features and terms."""
        empty = torch.zeros(2, 0, dtype=torch.long, device=x.device)
        scores = self.affinity(ModalityGraph(x, empty), ModalityGraph(y, empty)).node
        if row_terms is not None:
            scores = scores + row_terms[..., :, None]
        return scores if column_terms is None else scores + column_terms[..., None, :]

    def pairs(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the scores of single pairs `(p,)`, given the numbers of their rows and columns; differentiable."""
        x, y = self.x[rows][:, None], self.y[columns][:, None]
        sides = (self.row_terms, rows), (self.column_terms, columns)
        first, second = (None if terms is None else terms[places][:, None] for terms, places in sides)
        return self.block(x, y, first, second)[:, 0, 0]

    @property
    def frame(self) -> Tensor:
        """A tensor of the shape, dtype and device of the node scores that takes no memory; its values mean nothing."""
        return self.x.new_zeros(()).expand(len(self.x), len(self.y))

    @property
    def is_table(self) -> bool:
        """False: the scores are not written out."""
        return False

    def detach(self) -> Factors:
        """Return the same scores without their history."""
        return self._map(torch.Tensor.detach)

    def to(self, dtype: torch.dtype) -> Factors:
        """Return the same scores of features in another dtype; gradients flow through the conversion."""
        return self._map(lambda x: x.to(dtype))

    def turned(self) -> Factors:
        """Return the scores with rows and columns exchanged."""
        factors = None if self.factors is None else self.factors[::-1]
        return Factors(
            self.y, self.x, self.affinity, row_terms=self.column_terms, column_terms=self.row_terms, factors=factors
        )

    def without_edges(self) -> Factors:
        """Return the node scores alone."""
        return Factors(self.x, self.y, self.affinity, row_terms=self.row_terms, column_terms=self.column_terms)

    def _map(self, fn: Any) -> Factors:
        terms = (None if terms is None else fn(terms) for terms in (self.row_terms, self.column_terms))
        rows, columns = terms
        factors = None if self.factors is None else (fn(self.factors[0]), fn(self.factors[1]))
        return Factors(fn(self.x), fn(self.y), self.affinity, row_terms=rows, column_terms=columns, factors=factors)


def _check_features(x: Tensor, y: Tensor) -> None:
    for name, features in (("x", x), ("y", y)):
        check_tensor(f"Factors: `{name}`", features)
        if not features.is_floating_point():
            raise TypeError(f"Factors: `{name}` needs a floating dtype, not {features.dtype}; use .float()")
        if features.dim() != 2 or 0 in features.shape:
            raise ValueError(f"Factors: `{name}` needs the shape (nodes, width); got {tuple(features.shape)}")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"Factors: x and y need features of one width; got {x.shape[1]} and {y.shape[1]}")
    if x.dtype != y.dtype:
        raise TypeError(f"Factors: x and y need one dtype; got {x.dtype} and {y.dtype}")
    check_device("`y`", y, x.device, "`x`")


def _check_terms(name: str, terms: Tensor, like: Tensor) -> None:
    check_tensor(f"Factors: `{name}`", terms)
    if terms.shape != like.shape[:1] or terms.dtype != like.dtype:
        raise ValueError(
            f"Factors: `{name}` needs the shape ({len(like)},) and the dtype {like.dtype}; got {tuple(terms.shape)} "
            f"and {terms.dtype}"
        )
    check_device(f"`{name}`", terms, like.device, "the features")

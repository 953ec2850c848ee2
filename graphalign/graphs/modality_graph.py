"""One modality of a batch as a graph: a node for each sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, eq=False)
class ModalityGraph:
    """Nodes and directed edges, in the words of PyTorch Geometric, with optional batch dimensions.

    Args:
        x: Node features `(*b, n, d)`.
        edge_index: Long `(*b, 2, e)`: row 0 the sources, row 1 the targets; messages flow from source to target.
        mask: Bool `(*b, n)`, True at real nodes; None if all are.
        edge_mask: Bool `(*b, e)`, True at real edges; None if all are. A padded edge holds indices that exist.
    """

    x: Tensor
    edge_index: Tensor
    mask: Tensor | None = None
    edge_mask: Tensor | None = None

    @property
    def edge_attr(self) -> Tensor:
        """Differences of the end points' features, $x_{source} - x_{target}$, `(*b, e, d)`."""
        return self._at(0) - self._at(1)

    def with_nodes(self, x: Tensor) -> ModalityGraph:
        """Returns the same edges around other node features."""
        return replace(self, x=x)

    def __getitem__(self, index: Tensor | list[int]) -> ModalityGraph:
        """Selects graphs along the first batch dimension."""
        mask = None if self.mask is None else self.mask[index]
        edge_mask = None if self.edge_mask is None else self.edge_mask[index]
        return ModalityGraph(self.x[index], self.edge_index[index], mask, edge_mask)

    def _at(self, end: int) -> Tensor:
        nodes = self.edge_index[..., end, :, None]
        return self.x.gather(-2, nodes.expand(*nodes.shape[:-1], self.x.shape[-1]))

"""One modality of a batch as a graph: a node for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..extras import geometric


@dataclass(frozen=True, eq=False)
class ModalityGraph:
    r"""Nodes and directed edges, in the words of PyTorch Geometric, with optional batch dimensions.

    Graphs of different size share a batch by padding, and masks say what is real. `from_data` and `to_data` go from
    and to PyTorch Geometric, whose batches are ragged instead.

    Args:
        x: Node features `(*b, n, d)`.
        edge_index: Long `(*b, 2, e)`: row 0 the sources, row 1 the targets; messages flow from source to target.
        mask: Bool `(*b, n)`, True at real nodes; None if all are.
        edge_mask: Bool `(*b, e)`, True at real edges; None if all are. A padded edge holds indices that exist.
        edge_features: Edge attributes of the user's own `(*b, e, c)`, or None for the differences of the end points.

    Example:
        >>> import torch
        >>> from graphalign import ModalityGraph
        >>> graph = ModalityGraph(torch.tensor([[1.0], [4.0], [9.0]]), torch.tensor([[0, 1], [1, 2]]))
        >>> graph.edge_attr
        tensor([[-3.],
                [-5.]])
        >>> graph.to_data()
        Data(x=[3, 1], edge_index=[2, 2])
    """

    x: Tensor
    edge_index: Tensor
    mask: Tensor | None = None
    edge_mask: Tensor | None = None
    edge_features: Tensor | None = None

    @classmethod
    def from_data(cls, data: Any) -> ModalityGraph:
        """Return a graph of a PyTorch Geometric `Data`, or a padded batch of graphs.

        Args:
            data: A `Data`, whose graph has no batch dimension, or a `Batch` or sequence of `Data`, whose graphs make
                one batch dimension. `x` and `edge_index` are taken, and `edge_attr` `(e, c)` as `edge_features` where
                there is one. Padded nodes, edges and features are zero; there are no masks where nothing is padded.

        Raises:
            ValueError: There are no graphs, one has no `x` or `edge_index`, or only some have an `edge_attr`; or
                features are not `(items, width)` with the same width everywhere.

        Example:
            >>> import torch
            >>> from torch_geometric.data import Data
            >>> small = Data(x=torch.ones(2, 1), edge_index=torch.tensor([[0], [1]]))
            >>> large = Data(x=torch.ones(3, 1), edge_index=torch.tensor([[0, 1], [1, 2]]))
            >>> graphs = ModalityGraph.from_data([small, large])
            >>> graphs.mask
            tensor([[ True,  True, False],
                    [ True,  True,  True]])
            >>> graphs.edge_mask
            tensor([[ True, False],
                    [ True,  True]])
        """
        kinds = geometric("data")
        if isinstance(data, kinds.Data) and not isinstance(data, kinds.Batch):
            return cls.from_data([data])[0]
        graphs = data.to_data_list() if isinstance(data, kinds.Batch) else list(data)
        own = _edge_attributes(graphs)
        x, mask = _padded("x", [graph.x for graph in graphs])
        edges, edge_mask = _padded("edge_index", [None if g.edge_index is None else g.edge_index.T for g in graphs])
        features = None if own is None else _padded("edge_attr", own)[0]
        return cls(x, edges.mT, mask, edge_mask, features)

    def to_data(self) -> Any:
        """Return a PyTorch Geometric `Data`, or a list of them for graphs in a batch, in row-major order.

        Padding is left out and the nodes behind it move up. `edge_attr` is there where the graph has `edge_features`.
        """
        if self.x.dim() == 2:
            return self._one_data()
        batch = self.x.shape[:-2]
        flat = self._map(lambda value: value.reshape(batch.numel(), *value.shape[len(batch) :]))
        return [flat[item]._one_data() for item in range(batch.numel())]

    @property
    def edge_attr(self) -> Tensor:
        """`edge_features`, or else the differences of the end points, $x_{source} - x_{target}$, `(*b, e, d)`."""
        return self._at(0) - self._at(1) if self.edge_features is None else self.edge_features

    def with_nodes(self, x: Tensor) -> ModalityGraph:
        """Return the same edges around other node features."""
        return replace(self, x=x)

    def __getitem__(self, index: Tensor | list[int] | int) -> ModalityGraph:
        """Select graphs along the first batch dimension, which a whole number takes away."""
        return self._map(lambda value: value[index])

    def _map(self, fn: Any) -> ModalityGraph:
        parts: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: fn(part) for name, part in parts.items() if part is not None})

    def _at(self, end: int) -> Tensor:
        nodes = self.edge_index[..., end, :, None]
        return self.x.gather(-2, nodes.expand(*nodes.shape[:-1], self.x.shape[-1]))

    def _one_data(self) -> Any:
        x, edges, features, real = self.x, self.edge_index, self.edge_features, self.edge_mask
        if self.mask is not None:
            inside = self.mask[edges].all(0)
            real = inside if real is None else real & inside
            x, edges = x[self.mask], (self.mask.cumsum(-1) - 1)[edges]
        if real is not None:
            edges, features = edges[:, real], None if features is None else features[real]
        data = geometric("data").Data(x=x, edge_index=edges)
        if features is not None:
            data.edge_attr = features
        return data


def _edge_attributes(graphs: Sequence[Any]) -> list[Tensor] | None:
    """The `edge_attr` of all graphs; None where none has one."""
    given = [graph.edge_attr for graph in graphs if graph.edge_attr is not None]
    if given and len(given) < len(graphs):
        raise ValueError(f"{len(given)} of {len(graphs)} graphs have an edge_attr; give all of them one, or none")
    return given or None


def _padded(name: str, items: Sequence[Tensor | None]) -> tuple[Tensor, Tensor | None]:
    """Items `(length, width)` as one tensor `(B, longest, width)`, and which are real; None where all are."""
    found = [item for item in items if item is not None]
    if not items or len(found) < len(items):
        raise ValueError(f"graphs need `{name}`: {len(items) - len(found)} of {len(items)} have none")
    if any(item.dim() != 2 or item.shape[1] != found[0].shape[1] for item in found):
        shapes = ", ".join(str(tuple(item.shape)) for item in found[:4])
        raise ValueError(f"`{name}` needs two dimensions, features of one width in the last; got {shapes}")
    lengths = torch.tensor([len(item) for item in found], device=found[0].device)
    mask = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
    return torch.nn.utils.rnn.pad_sequence(found, batch_first=True), None if bool(mask.all()) else mask

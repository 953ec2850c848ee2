"""Message passing on modality graphs by the convolutions of PyTorch Geometric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def _gin(conv: Any, channels: int) -> nn.Module:
    layer: nn.Module = conv(nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels)))
    return layer


# name -> (class in torch_geometric.nn, how to make one from the class and the number of channels)
CONVOLUTIONS: dict[str, tuple[str, Callable[[Any, int], nn.Module]]] = {
    "gat": ("GATConv", lambda conv, channels: conv(channels, channels)),
    "gcn": ("GCNConv", lambda conv, channels: conv(channels, channels)),
    "gin": ("GINConv", _gin),
    "graphconv": ("GraphConv", lambda conv, channels: conv(channels, channels, aggr="max")),
    "sage": ("SAGEConv", lambda conv, channels: conv(channels, channels)),
}


class MessagePassing(nn.Module):
    r"""A stack of graph convolutions, shared by all modalities.

    $$h \leftarrow h + \mathrm{dropout}(\mathrm{relu}(\mathrm{conv}(h)))$$

    The residual path keeps every node tell-apart at initialisation, where a rectified stack alone sends all nodes into
    one cone and their cosines to one; `residual=False` is the plain stack.

    Args:
        channels: Width $d$ of the features, in and out.
        conv: `graphconv` (maximum over neighbours), `gcn`, `gat`, `sage` or `gin`.
        layers: Number of convolutions.
        dropout: Share of features dropped in training.
        residual: Whether a layer's input is added to its output.

    Raises:
        ValueError: The name of the convolution is unknown.

    References:
        Morris et al., "Weisfeiler and Leman go neural", AAAI 2019 (GraphConv).
    """

    def __init__(
        self, channels: int, conv: str = "graphconv", layers: int = 2, dropout: float = 0.0, residual: bool = True
    ) -> None:
        super().__init__()
        if conv not in CONVOLUTIONS:
            raise ValueError(f"Unknown convolution {conv!r}. Known: {', '.join(CONVOLUTIONS)}.")
        import torch_geometric.nn

        name, make = CONVOLUTIONS[conv]
        self.layers = nn.ModuleList(make(getattr(torch_geometric.nn, name), channels) for _ in range(layers))
        self.dropout, self.residual = nn.Dropout(dropout), residual

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns new node features.

        Args:
            x: Node features `(*b, n, d)`.
            edge_index: Long `(*b, 2, e)`.
        """
        h, edges = x.reshape(-1, x.shape[-1]), _disjoint(edge_index, x.shape[-2])
        for layer in self.layers:
            out = self.dropout(layer(h, edges).relu())
            h = h + out if self.residual else out
        return h.reshape(x.shape)


def _disjoint(edge_index: Tensor, nodes: int) -> Tensor:
    """The edges `(2, B * e)` of one graph that holds all graphs of the batch side by side."""
    graphs = edge_index.reshape(edge_index.shape[:-2].numel(), *edge_index.shape[-2:])
    offsets = torch.arange(len(graphs), device=edge_index.device) * nodes
    return (graphs + offsets[:, None, None]).transpose(0, 1).reshape(2, -1)

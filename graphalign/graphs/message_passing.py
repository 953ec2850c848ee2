"""Message passing on modality graphs by the convolutions of PyTorch Geometric."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..extras import geometric
from ..names import did_you_mean


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


# Layers that compute a mean over all nodes that they see, those of other graphs and padding included.
MIXES_NODES = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


class MessagePassing(nn.Module):
    r"""A stack of graph convolutions, shared by all modalities; `PerModality` gives each its own.

    $$h \leftarrow h + \mathrm{dropout}(\mathrm{relu}(\mathrm{conv}(h)))$$

    The residual path keeps nodes distinguishable at initialisation, where a rectified stack alone sends all nodes into
    one cone and their cosines to one; `residual=False` is the plain stack.

    Cost: that of the convolutions on one graph that holds all graphs of the batch side by side.

    Args:
        channels: Width $d$ of the features, in and out.
        conv: `graphconv` (maximum over neighbours), `gcn`, `gat`, `sage`, `gin`, or any class of `torch_geometric.nn`
            by name that is made from `(in_channels, out_channels)` and called with `(x, edge_index)`, e.g.
            `TransformerConv`.
        layers: Number of convolutions.
        dropout: Share of features dropped in training.
        residual: Whether a layer's input is added to its output.

    Raises:
        ValueError: The name of the convolution is unknown, or it needs more than features and edges.

    Example:
        >>> import torch
        >>> from graphalign import KNN, MessagePassing
        >>> graph = KNN(k=2)(torch.randn(3, 8, 16))
        >>> MessagePassing(16, conv="TransformerConv")(graph.x, graph.edge_index).shape
        torch.Size([3, 8, 16])

    References:
        Morris et al., "Weisfeiler and Leman go neural", AAAI 2019 (GraphConv); Fey and Lenssen, "Fast graph
        representation learning with PyTorch Geometric", 2019.
    """

    def __init__(
        self, channels: int, conv: str = "graphconv", layers: int = 2, dropout: float = 0.0, residual: bool = True
    ) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.ModuleList(_convolution(conv, channels) for _ in range(layers))
        self.dropout, self.residual = nn.Dropout(dropout), residual

    def forward(self, x: Tensor, edge_index: Tensor, edge_mask: Tensor | None = None) -> Tensor:
        """Return new node features.

        Args:
            x: Node features `(*b, n, d)`.
            edge_index: Long `(*b, 2, e)`.
            edge_mask: Bool `(*b, e)`, True at real edges; None if all are. Padded edges carry no message.

        Raises:
            ValueError: The features have not the width that it was made for.
        """
        if x.shape[-1] != self.channels:
            raise ValueError(
                f"MessagePassing({self.channels}) takes features `x` of the width {self.channels}; got the shape "
                f"{tuple(x.shape)}: make it as MessagePassing({x.shape[-1]})"
            )
        h, edges = x.reshape(-1, x.shape[-1]), _disjoint(edge_index, x.shape[-2])
        if edge_mask is not None:
            edges = edges[:, edge_mask.reshape(-1)]
        for layer in self.layers:
            out = self.dropout(layer(h, edges).relu())
            h = h + out if self.residual else out
        return h.reshape(x.shape)


class PerModality(nn.Module):
    r"""An encoder of its own for each modality, where one shared by all would have to serve unlike features.

    `AlignmentLoss` tells it which graph is which by `names`. The barycenter is a graph as the others and needs an
    encoder called `barycenter`, which all barycenters of `leave_one_out` share; `pairwise` has none.

    Args:
        encoders: Name of the modality to a module called as `encoder(x, edge_index)`, with `edge_mask` besides for
            graphs with padded edges, e.g. a `MessagePassing`. One module under two names is shared by both.

    Example:
        >>> import torch
        >>> from graphalign import KNN, MessagePassing, PerModality
        >>> encoder = PerModality({name: MessagePassing(16) for name in ("image", "report", "barycenter")})
        >>> graph = KNN(k=2)(torch.randn(3, 8, 16))
        >>> encoder(graph.x, graph.edge_index, names=["image", "report", "barycenter"]).shape
        torch.Size([3, 8, 16])
    """

    def __init__(self, encoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_mask: Tensor | None = None, *, names: Sequence[str]
    ) -> Tensor:
        """Return new node features.

        Args:
            x: Node features `(V, n, d)` of V graphs.
            edge_index: Long `(V, 2, e)`.
            edge_mask: Bool `(V, e)`, True at real edges; None if all are.
            names: The modality of every graph, or `barycenter`.

        Raises:
            ValueError: There is no encoder of that name, or not a name for each graph.
        """
        missing = [name for name in names if name not in self.encoders]
        if missing or len(names) != len(x):
            raise ValueError(
                f"PerModality has encoders for {', '.join(self.encoders)}, and got {len(x)} graphs called "
                f"{', '.join(names)}: give one name for each graph, and an encoder for each name"
            )
        out = torch.empty_like(x)
        for name in dict.fromkeys(names):
            own = [place for place, other in enumerate(names) if other == name]
            mask = {} if edge_mask is None else {"edge_mask": edge_mask[own]}
            encoded = self.encoders[name](x[own], edge_index[own], **mask)
            out = out.index_copy(0, torch.tensor(own, device=x.device), encoded)
        return out


def _convolution(name: str, channels: int) -> nn.Module:
    """One convolution by our name for it or by that of its class, tried on two nodes where it is not ours."""
    layers = geometric("nn")
    if name in CONVOLUTIONS:
        known, make = CONVOLUTIONS[name]
        return make(getattr(layers, known), channels)
    classes = [key for key in layers.conv.__all__ if key != "MessagePassing"]
    if name not in classes:
        raise ValueError(
            f"unknown convolution {name!r}.{did_you_mean(name, [*CONVOLUTIONS, *classes])} Known: "
            f"{', '.join(CONVOLUTIONS)}, and the classes of torch_geometric.nn that take features and edges, e.g. "
            f"TransformerConv"
        )
    try:
        return _tried(getattr(layers, name), channels)
    except Exception as error:  # whatever a class raises that was made for other inputs
        raise ValueError(
            f"{name} cannot serve here: a convolution is made by {name}(in_channels, out_channels), called with "
            f"(x, edge_index), and gives features of the width {channels}; it said: {error}"
        ) from error


def _tried(conv: Any, channels: int) -> nn.Module:
    """A convolution that has seen two nodes: many classes take two numbers, but as something else."""
    made, called = (list(inspect.signature(fn).parameters) for fn in (conv, conv.forward))
    if made[:2] != ["in_channels", "out_channels"] or called[1:3] != ["x", "edge_index"]:
        raise ValueError(f"it is made from ({', '.join(made)}) and called with ({', '.join(called[1:])})")
    layer: nn.Module = conv(channels, channels).eval()
    with torch.no_grad():
        shape = tuple(layer(torch.zeros(2, channels), torch.tensor([[0, 1], [1, 0]])).shape)
    if shape != (2, channels):
        raise ValueError(f"two nodes of width {channels} came out as {shape}")
    mixing = [type(part).__name__ for part in layer.modules() if isinstance(part, MIXES_NODES)]
    if mixing:
        raise ValueError(
            f"it holds {mixing[0]}, whose statistics mix the graphs of a batch and their padded nodes, so that a graph "
            f"would not be encoded as it is alone"
        )
    return layer.train()


def _disjoint(edge_index: Tensor, nodes: int) -> Tensor:
    """The edges `(2, B * e)` of one graph that holds all graphs of the batch side by side."""
    graphs = edge_index.reshape(edge_index.shape[:-2].numel(), *edge_index.shape[-2:])
    offsets = torch.arange(len(graphs), device=edge_index.device) * nodes
    return (graphs + offsets[:, None, None]).transpose(0, 1).reshape(2, -1)

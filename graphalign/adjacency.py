"""Weighted graphs in the forms that other libraries have, as edges and weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class WeightedEdges(NamedTuple):
    """The edges of one graph.

    Args:
        edges: Long `(2, e)`, sources and targets.
        weights: Floating `(e, r)`, of each edge r numbers.
        nodes: How many nodes there are.
    """

    edges: Tensor
    weights: Tensor
    nodes: int


def weighted_edges(graph: Any, name: str) -> WeightedEdges:
    """Return the edges of a graph; entry (i, j) of a matrix is the edge from i to j.

    Args:
        graph: A square matrix (array, tensor, table; `torch.sparse`, `scipy.sparse`), a networkx graph, whose nodes
            are numbered in its own order, or a graph with `edge_index`, such as PyTorch Geometric's `Data` or
            `ModalityGraph`. Weights are the entries, the edge attribute `weight`, or `edge_attr`; 1 where there are
            none. Zero entries are not edges, except in a dense tensor that requires a gradient.
        name: What to call it in an error.

    Raises:
        TypeError: It is none of these.
        ValueError: The matrix is not square, or the weights are not finite.

    Example:
        >>> import numpy as np
        >>> weighted_edges(np.array([[0, 2.5], [0, 0]]), "A")
        WeightedEdges(edges=tensor([[0],
                [1]]), weights=tensor([[2.5000]], dtype=torch.float64), nodes=2)
    """
    if hasattr(graph, "edge_index"):
        found = _of_edge_index(graph, name)
    elif hasattr(graph, "is_directed") and hasattr(graph, "number_of_nodes"):
        found = _of_networkx(graph)
    elif hasattr(graph, "tocoo"):
        found = _of_scipy(graph, name)
    else:
        found = _of_matrix(graph, name)
    if not bool(found.weights.detach().isfinite().all()):
        raise ValueError(f"{name} has weights that are not finite; leave these edges out")
    return found


def _of_edge_index(graph: Any, name: str) -> WeightedEdges:
    if getattr(graph, "mask", None) is not None or graph.edge_index.dim() != 2:
        raise ValueError(f"{name} must be one graph without padding; take one of a batch by its number")
    nodes = getattr(graph, "num_nodes", None)
    nodes = int(nodes if nodes is not None else graph.x.shape[-2])
    own = (
        getattr(graph, "edge_features", None) if hasattr(graph, "edge_features") else getattr(graph, "edge_attr", None)
    )
    if own is None:
        own = getattr(graph, "edge_weight", None)
    if own is None:
        own = torch.ones(graph.edge_index.shape[1], dtype=torch.float64)
    weights = own if own.is_floating_point() else own.double()
    # Several numbers on each edge `(e, r)`, or one `(e,)`; without edges their count cannot be inferred.
    weights = weights[:, None] if weights.dim() == 1 else weights.flatten(1)
    return WeightedEdges(graph.edge_index.long(), weights, nodes)


def _of_networkx(graph: Any) -> WeightedEdges:
    numbers = {node: number for number, node in enumerate(graph)}
    both = [(numbers[i], numbers[j], float(w)) for i, j, w in graph.edges(data="weight", default=1.0)]
    if not graph.is_directed():
        both += [(j, i, w) for i, j, w in both if i != j]
    edges = torch.tensor([edge[:2] for edge in both], dtype=torch.long).reshape(-1, 2)
    weights = torch.tensor([edge[2] for edge in both], dtype=torch.float64)
    return WeightedEdges(edges.T, weights[:, None], len(numbers))


def _of_scipy(graph: Any, name: str) -> WeightedEdges:
    matrix = graph.tocoo()
    _check_square(matrix.shape, name)
    edges = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
    return WeightedEdges(edges, torch.from_numpy(_floating(matrix.data))[:, None], matrix.shape[0])


def _of_matrix(graph: Any, name: str) -> WeightedEdges:
    if isinstance(graph, Tensor) and graph.layout != torch.strided:
        sparse = (graph if graph.layout == torch.sparse_coo else graph.to_sparse()).coalesce()
        _check_square(sparse.shape, name)
        values = sparse.values()
        return WeightedEdges(
            sparse.indices(), (values if values.is_floating_point() else values.double())[:, None], sparse.shape[0]
        )
    matrix = as_tensor(graph, name)
    _check_square(matrix.shape, name)
    kept = torch.ones_like(matrix, dtype=torch.bool) if matrix.requires_grad else matrix != 0
    edges = kept.nonzero().T
    return WeightedEdges(edges, matrix[edges[0], edges[1]][:, None], matrix.shape[0])


def as_tensor(values: Any, name: str) -> Tensor:
    """Return an array, tensor or table as a floating tensor that shares its memory where it can.

    Args:
        values: What `numpy.asarray` takes, or a tensor.
        name: What to call it in an error.

    Raises:
        TypeError: It holds anything but real numbers, is sparse, or hides some of its entries behind a mask.

    Example:
        >>> as_tensor([[1, 2]], "x")
        tensor([[1., 2.]], dtype=torch.float64)
    """
    if getattr(values, "layout", torch.strided) != torch.strided or hasattr(values, "tocoo"):
        raise TypeError(f"{name} must be dense; got a sparse {type(values).__name__}: give .to_dense() or .toarray()")
    if isinstance(values, Tensor):
        if values.is_meta:
            raise TypeError(f"{name} must hold numbers; got a tensor on the device meta, which has none")
        if values.is_complex():
            raise TypeError(f"{name} must hold numbers; got {type(values).__name__}: complex ones are not real numbers")
        return values if values.is_floating_point() else values.double()
    if np.ma.is_masked(values):
        raise TypeError(f"{name} must hold numbers; got masked entries: fill them, or leave their rows out")
    try:
        return torch.from_numpy(_floating(values))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must hold numbers; got {type(values).__name__}: {error}") from None


def sparse_tensor(values: Any, name: str) -> Tensor:
    """Return a sparse matrix of scipy or torch as a floating tensor in the coordinate format.

    Args:
        values: The matrix; entries that are there count, also zeros.
        name: What to call it in an error.

    Raises:
        TypeError: It holds anything but numbers.

    Example:
        >>> import scipy.sparse
        >>> sparse_tensor(scipy.sparse.csr_array([[0.0, 2.0]]), "scores").values()
        tensor([2.], dtype=torch.float64)
    """
    if isinstance(values, Tensor):
        found: Tensor = values if values.layout == torch.sparse_coo else values.to_sparse_coo()  # type: ignore[no-untyped-call]
        return (found if found.is_floating_point() else found.double()).coalesce()
    matrix = values.tocoo()
    try:
        entries = torch.from_numpy(_floating(matrix.data))
    except TypeError as error:
        raise TypeError(f"{name} must hold numbers: {error}") from None
    places = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
    return torch.sparse_coo_tensor(places, entries, matrix.shape, check_invariants=True).coalesce()


def _floating(values: Any) -> Any:
    array = np.asarray(values)
    if array.dtype == object and _nullable(values):
        array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"the type {array.dtype} is not a real number")
    array = np.ascontiguousarray(array if array.dtype in (np.float32, np.float64) else array.astype(np.float64))
    return array if array.flags.writeable else array.copy()  # torch warns of memory that must not be written to


def _nullable(values: Any) -> bool:
    """Whether a frame holds numbers alone, in columns of pandas' types that may lack values."""
    kinds: Any = getattr(values, "dtypes", None)
    columns = list(kinds) if hasattr(kinds, "__iter__") else [kinds]
    return all(getattr(kind, "kind", "O") in "fiub" for kind in columns)


def _check_square(shape: Any, name: str) -> None:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"{name} must be a square matrix, one row and column for each node; got {tuple(shape)}")

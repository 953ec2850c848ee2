"""Problems to measure solvers on: graphs of noisy points, with a matching that was planted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from graphalign import KNN, Cosine, ModalityGraph, NodeEdge, Problem

#: Standard deviation of the noise on every coordinate, beside points of standard deviation one. At `easy` every method
#: finds the planted matching; at `hard` others score higher than that, and the random walks of pygmtools' `rrwm` reach
#: .95, .87 and .81 of the best objective known at 16, 32 and 64 nodes.
NOISE = {"easy": 0.2, "medium": 0.8, "hard": 2.0}
#: How the scores of edge pairs are made from the edges.
EDGE_SCORES = ("vectors", "lengths", "random")

DIMENSIONS = 16  # of the points, which make the edges
CLUE = 0.1  # how much of a node's own feature speaks of its partner


def noisy_graphs(
    n: int, k: int = 5, noise: str | float = "hard", seed: int = 0, edges: str = "vectors"
) -> tuple[Problem, Tensor]:
    """Return a second-order problem between points and a shuffled noisy copy of them, and the planted matching.

    Both sets of points become nearest-neighbour graphs. Node scores are cosines of features that say little about
    who belongs to whom; most of what is known lies in the edges. At much noise other matchings score higher than the
    planted one.

    Args:
        n: Nodes of each graph.
        k: Neighbours of each node: `n k` edges.
        noise: `easy`, `medium`, `hard`, or the standard deviation on every coordinate.
        seed: Of all that is random.
        edges: `vectors` (cosines of the edges' directions), `lengths` (Gaussian of the difference of their lengths,
            which is what is left where the two spaces have no axes in common) or `random` (normal numbers).

    Returns:
        The problem, in float32, and the partner of every node of the first graph, long `(n)`.

    Raises:
        ValueError: `noise` or `edges` names nothing that is known.

    Example:
        >>> problem, planted = noisy_graphs(16, noise="easy")
        >>> tuple(problem.scores.edge.shape), len(planted)
        ((80, 80), 16)
    """
    generator = torch.Generator().manual_seed(seed)
    sigma, planted = _sigma(noise), torch.randperm(n, generator=generator)
    x = _normal(generator, n, DIMENSIONS)
    y = torch.empty_like(x)
    y[planted] = x + sigma * _normal(generator, n, DIMENSIONS)
    graph1, graph2 = KNN(k)(x), KNN(k)(y)
    scores = NodeEdge(_clues(generator, planted), _edge_scores(edges, graph1, graph2, generator))
    return Problem(scores, graph1.edge_index, graph2.edge_index), planted


def dense_affinity(problem: Problem) -> Tensor:
    r"""Return the affinity `(n m, n m)` of one problem, as solvers of other libraries want it.

    $\mathrm{vec}(X)^\top A\, \mathrm{vec}(X)$ is the problem's objective, where $\mathrm{vec}$ lists the columns of
    the matching one after the other, as pygmtools does. $A$ is symmetric.

    Example:
        >>> problem, planted = noisy_graphs(8, k=2)
        >>> dense_affinity(problem).shape
        torch.Size([64, 64])
    """
    node, edge = problem.masked().scores.tensors()
    (n, m), edges1, edges2 = node.shape, problem.edges1, problem.edges2
    if edges1 is None or edges2 is None:
        raise ValueError("a dense affinity needs a second-order problem, with edges1 and edges2")
    source, target = (edges1[end][:, None] + n * edges2[end] for end in (0, 1))
    affinity = node.new_zeros(n * m, n * m).index_put_((source, target), edge, accumulate=True)
    return 0.5 * (affinity + affinity.mT) + torch.diag(node.mT.flatten())


def _sigma(noise: str | float) -> float:
    if isinstance(noise, str) and noise not in NOISE:
        raise ValueError(f"noise must be one of {', '.join(NOISE)}, or a number, not {noise!r}")
    return NOISE[noise] if isinstance(noise, str) else noise


def _normal(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


def _clues(generator: Generator, planted: Tensor) -> Tensor:
    """Cosines of features of which a small part is shared by planted partners."""
    own = _normal(generator, len(planted), 16)
    others = torch.empty_like(own)
    others[planted] = CLUE * own + (1 - CLUE) * _normal(generator, *own.shape)
    return F.normalize(own, dim=-1) @ F.normalize(others, dim=-1).mT


def _edge_scores(kind: str, graph1: ModalityGraph, graph2: ModalityGraph, generator: Generator) -> Tensor:
    if kind == "vectors":
        edge = Cosine()(graph1, graph2, order=2).edge
        assert edge is not None
        return edge
    if kind == "lengths":
        length1, length2 = (graph.edge_attr.norm(dim=-1) for graph in (graph1, graph2))
        return torch.exp(-((length1[:, None] - length2).square()) / (0.1 * length1.square().mean()))
    if kind == "random":
        return 0.5 * _normal(generator, graph1.edge_index.shape[-1], graph2.edge_index.shape[-1])
    raise ValueError(f"edges must be one of {', '.join(EDGE_SCORES)}, not {kind!r}")

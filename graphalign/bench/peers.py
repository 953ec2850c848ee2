"""Other libraries behind one form: a tensor of scores in, a tensor out, on one thread."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from graphalign.extras import pip_line

Call = Callable[[], Tensor]
PACKAGES = {
    "lapx": "lap",
    "lapjv": "lapjv",
    "scipy": "scipy",
    "pygmtools": "pygmtools",
    "POT": "ot",
}  # contender's first word -> import


def missing(names: list[str]) -> dict[str, str]:
    """The contenders whose package is not installed, with what to do."""
    packages = {name: name.split()[0] for name in names}
    return {
        name: f"{package} is not installed: {'pip install lapjv' if package == 'lapjv' else pip_line('bench')}"
        for name, package in packages.items()
        if package in PACKAGES and find_spec(PACKAGES[package]) is None
    }


# --- linear assignment: float32 scores (b, n, n) to the column of every row, long (b, n) ----------------------------


def lapx(scores: Tensor, engine: str) -> Tensor:
    import lap

    solve = getattr(lap, f"{engine}_batch")
    _, columns = solve(-scores.numpy(), n_threads=1, return_cost=False)
    return torch.from_numpy(np.stack(columns))


def lapjv(scores: Tensor) -> Tensor:
    from lapjv import lapjv as solve

    return torch.from_numpy(np.stack([solve(costs)[0] for costs in -scores.numpy()]).astype(np.int64))


def scipy(scores: Tensor) -> Tensor:
    from scipy.optimize import linear_sum_assignment

    solved = [linear_sum_assignment(item, maximize=True)[1] for item in scores.numpy()]
    return torch.from_numpy(np.stack(solved))


def pygmtools_hungarian(scores: Tensor) -> Tensor:
    import pygmtools

    found: Tensor = pygmtools.hungarian(scores, backend="pytorch")
    return found


# --- Sinkhorn: scores (b, n, n) to a plan whose rows sum to one ------------------------------------------------------


def plain_sinkhorn(scores: Tensor, tau: float, rounds: int) -> Tensor:
    """The usual code of papers: alternating normalisation of logarithms, every round kept by autograd."""
    logs = scores / tau
    for _ in range(rounds):
        logs = logs - logs.logsumexp(-1, keepdim=True)
        logs = logs - logs.logsumexp(-2, keepdim=True)
    return logs.exp()


def pygmtools_sinkhorn(scores: Tensor, tau: float, rounds: int) -> Tensor:
    import pygmtools

    plan: Tensor = pygmtools.sinkhorn(
        scores, tau=tau, max_iter=2 * rounds, batched_operation=True, backend="pytorch"
    )  # it counts a row and a column update as two
    return plan


def pot_sinkhorn(scores: Tensor, tau: float, rounds: int) -> Tensor:
    """POT's batched solver in the logarithmic domain; its marginals are shares of one."""
    from ot.batch import bregman_log_projection_batch

    sums = torch.full(scores.shape[:-1], 1 / scores.shape[-1])
    found = bregman_log_projection_batch(scores / tau, sums, sums, max_iter=rounds, tol=0, grad="autodiff")
    plan: Tensor = found["T"] * scores.shape[-1]
    return plan


# --- second order: a dense affinity (n n, n n) to a soft matching (n, n) --------------------------------------------


def pygmtools_quadratic(affinity: Tensor, nodes: int, solver: str) -> Tensor:
    import pygmtools

    found: Tensor = getattr(pygmtools, solver)(affinity, nodes, nodes, backend="pytorch")
    return found


def pot_fused(node: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Fused Gromov-Wasserstein between two adjacency matrices; it cannot take scores of edge pairs."""
    from ot.gromov import fused_gromov_wasserstein

    plan = fused_gromov_wasserstein(-node.double().numpy(), first.double().numpy(), second.double().numpy())
    return torch.from_numpy(np.asarray(plan)).float() * len(node)

"""Match graphs, and differentiate through the matching.

Example: three modalities of the same 32 samples, aligned by graph matching.

    >>> import torch
    >>> import graphalign as ga
    >>> generator = torch.Generator().manual_seed(0)
    >>> views = {name: torch.randn(32, 64, generator=generator) for name in ("image", "report", "sound")}
    >>> encoders = torch.nn.ModuleDict({name: torch.nn.Linear(64, 16) for name in views})
    >>> match = ga.differentiable(ga.build("solver", "lap"), ga.build("estimator", "imle(noise=gumbel(0.2))"))
    >>> loss = ga.AlignmentLoss(match, graph=ga.KNN(k=5), barycenter="leave_one_out")
    >>> out = loss({name: encoders[name](x) for name, x in views.items()}, generator=generator)
    >>> out.loss.backward()
    >>> len(out.matchings), tuple(out.matchings["image->barycenter"].shape)
    (6, (32, 32))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .affinity import Cosine, Gaussian, InnerProduct
    from .compatibility import refusal
    from .differentiation import Estimator, Solver, attach_vjp, differentiable
    from .estimators import (
        AIMLE,
        IMLE,
        Blackbox,
        Detached,
        Gumbel,
        Identity,
        Implicit,
        Normal,
        Perturbed,
        StraightThrough,
        SumOfGamma,
        Unrolled,
    )
    from .graphs import KNN, Complete, MessagePassing, ModalityGraph, PerModality, Threshold
    from .losses import (
        PLOT,
        VLAP,
        AlignmentLoss,
        AlignmentOutput,
        FenchelYoung,
        InfoNCE,
        SigLIP,
        SPOPlus,
        cross_entropy,
        hamming,
    )
    from .metrics import marginal_error, matching_accuracy, objective
    from .problem import NodeEdge, Problem, Solution
    from .registry import build, components
    from .solvers import FAQ, FGW, IPFP, RRWM, SM, Auction, BruteForce, Greedy, Hungarian, Lap, PygmSinkhorn, Sinkhorn

__all__ = [
    "AIMLE",
    "FAQ",
    "FGW",
    "IMLE",
    "IPFP",
    "KNN",
    "PLOT",
    "RRWM",
    "SM",
    "VLAP",
    "AlignmentLoss",
    "AlignmentOutput",
    "Auction",
    "Blackbox",
    "BruteForce",
    "Complete",
    "Cosine",
    "Detached",
    "Estimator",
    "FenchelYoung",
    "Gaussian",
    "Greedy",
    "Gumbel",
    "Hungarian",
    "Identity",
    "Implicit",
    "InfoNCE",
    "InnerProduct",
    "Lap",
    "MessagePassing",
    "ModalityGraph",
    "NodeEdge",
    "Normal",
    "PerModality",
    "Perturbed",
    "Problem",
    "PygmSinkhorn",
    "SPOPlus",
    "SigLIP",
    "Sinkhorn",
    "Solution",
    "Solver",
    "StraightThrough",
    "SumOfGamma",
    "Threshold",
    "Unrolled",
    "__version__",
    "attach_vjp",
    "build",
    "components",
    "cross_entropy",
    "differentiable",
    "hamming",
    "marginal_error",
    "matching_accuracy",
    "objective",
    "refusal",
]

# Where each name is defined. It is imported when it is first used, so that what needs no tensor loads no torch.
_HOME = {
    "affinity": "Cosine Gaussian InnerProduct",
    "compatibility": "refusal",
    "differentiation": "Estimator Solver attach_vjp differentiable",
    "estimators": "AIMLE IMLE Blackbox Detached Gumbel Identity Implicit Normal Perturbed StraightThrough SumOfGamma "
        "Unrolled",
    "graphs": "KNN Complete MessagePassing ModalityGraph PerModality Threshold",
    "losses": "PLOT VLAP AlignmentLoss AlignmentOutput FenchelYoung InfoNCE SigLIP SPOPlus cross_entropy hamming",
    "metrics": "marginal_error matching_accuracy objective",
    "problem": "NodeEdge Problem Solution",
    "registry": "build components",
    "solvers": "FAQ FGW IPFP RRWM SM Auction BruteForce Greedy Hungarian Lap PygmSinkhorn Sinkhorn",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    for module, names in _HOME.items():
        if name in names.split():
            found = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

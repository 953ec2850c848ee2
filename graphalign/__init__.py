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

from typing import TYPE_CHECKING

from ._version import __version__
from .lazy import import_on_use

if TYPE_CHECKING:
    from .affinity import Cosine, Gaussian, InnerProduct
    from .aligned import Aligned
    from .compatibility import SolverTraits, refusal
    from .differentiation import Estimator, Solver, attach_vjp, differentiable, solve
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
    from .factors import Factors
    from .graphs import KNN, Complete, MessagePassing, ModalityGraph, PerModality, Threshold
    from .graphs.distances import between_others, distances, real_nodes
    from .known_pairs import align, align_to_reference
    from .losses import (
        GCE,
        MAE,
        PLOT,
        VLAP,
        AlignmentLoss,
        AlignmentOutput,
        FenchelYoung,
        InfoNCE,
        ModalityLoss,
        SigLIP,
        SPOPlus,
        cross_entropy,
        hamming,
    )
    from .losses.contrastive import retrieval
    from .losses.fenchel_young import value_of
    from .losses.modalities import token_sets, vectors
    from .matching import Match, match
    from .metrics import marginal_error, matching_accuracy, objective
    from .problem import NodeEdge, Problem, Solution
    from .registry import broken_components, build, components, with_argument
    from .solvers import (
        FAQ,
        FGW,
        IPFP,
        RRWM,
        SM,
        Auction,
        BruteForce,
        Greedy,
        Hungarian,
        Lap,
        PygmSinkhorn,
        Sinkhorn,
        Sparse,
    )
    from .solvers.assignment import assign
    from .solvers.blocked_sinkhorn import FactoredPlan
    from .solvers.preparation import prepare_problem, settle
    from .targets import correspondence

__all__ = [
    "AIMLE",
    "FAQ",
    "FGW",
    "GCE",
    "IMLE",
    "IPFP",
    "KNN",
    "MAE",
    "PLOT",
    "RRWM",
    "SM",
    "VLAP",
    "Aligned",
    "AlignmentLoss",
    "AlignmentOutput",
    "Auction",
    "Blackbox",
    "BruteForce",
    "Complete",
    "Cosine",
    "Detached",
    "Estimator",
    "FactoredPlan",
    "Factors",
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
    "Match",
    "MessagePassing",
    "ModalityGraph",
    "ModalityLoss",
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
    "SolverTraits",
    "Sparse",
    "StraightThrough",
    "SumOfGamma",
    "Threshold",
    "Unrolled",
    "__version__",
    "align",
    "align_to_reference",
    "assign",
    "attach_vjp",
    "between_others",
    "broken_components",
    "build",
    "components",
    "correspondence",
    "cross_entropy",
    "differentiable",
    "distances",
    "hamming",
    "marginal_error",
    "match",
    "matching_accuracy",
    "objective",
    "prepare_problem",
    "real_nodes",
    "refusal",
    "retrieval",
    "settle",
    "solve",
    "token_sets",
    "value_of",
    "vectors",
    "with_argument",
]

_HOME = {
    "affinity": "Cosine Gaussian InnerProduct",
    "aligned": "Aligned",
    "compatibility": "SolverTraits refusal",
    "differentiation": "Estimator Solver attach_vjp differentiable solve",
    "factors": "Factors",
    "solvers.blocked_sinkhorn": "FactoredPlan",
    "estimators": "AIMLE IMLE Blackbox Detached Gumbel Identity Implicit Normal Perturbed StraightThrough SumOfGamma "
        "Unrolled",
    "graphs": "KNN Complete MessagePassing ModalityGraph PerModality Threshold",
    "graphs.distances": "between_others distances real_nodes",
    "known_pairs": "align align_to_reference",
    "losses": "GCE MAE PLOT VLAP AlignmentLoss AlignmentOutput FenchelYoung InfoNCE ModalityLoss SigLIP SPOPlus "
        "cross_entropy hamming",
    "losses.contrastive": "retrieval",
    "losses.fenchel_young": "value_of",
    "losses.modalities": "token_sets vectors",
    "matching": "Match match",
    "metrics": "marginal_error matching_accuracy objective",
    "problem": "NodeEdge Problem Solution",
    "registry": "broken_components build components with_argument",
    "solvers": "FAQ FGW IPFP RRWM SM Auction BruteForce Greedy Hungarian Lap PygmSinkhorn Sinkhorn Sparse",
    "solvers.assignment": "assign",
    "solvers.preparation": "prepare_problem settle",
    "targets": "correspondence",
}  # fmt: skip


__getattr__ = import_on_use(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Estimators: rules for the gradient of a solver, one file each; the file's name is the estimator's name."""

from typing import Any

from .aimle import AIMLE
from .blackbox import Blackbox
from .detached import Detached
from .identity import Identity
from .imle import IMLE
from .implicit import Implicit
from .noise import NOISES, Gumbel, Noise, Normal, ScoredNoise, SumOfGamma
from .perturbed import Perturbed
from .straight_through import StraightThrough
from .unrolled import Unrolled

ESTIMATORS: dict[str, Any] = {
    "aimle": AIMLE,
    "blackbox": Blackbox,
    "detached": Detached,
    "identity": Identity,
    "imle": IMLE,
    "implicit": Implicit,
    "perturbed": Perturbed,
    "straight_through": StraightThrough,
    "unrolled": Unrolled,
}

__all__ = [
    "AIMLE",
    "ESTIMATORS",
    "IMLE",
    "NOISES",
    "Blackbox",
    "Detached",
    "Gumbel",
    "Identity",
    "Implicit",
    "Noise",
    "Normal",
    "Perturbed",
    "ScoredNoise",
    "StraightThrough",
    "SumOfGamma",
    "Unrolled",
]

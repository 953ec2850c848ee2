"""Solvers: callables from a problem to a solution, one file each; the file's name is the solver's name."""

from typing import Any

from .brute_force import BruteForce
from .faq import FAQ
from .greedy import Greedy
from .hungarian import Hungarian
from .lap import Lap
from .pygm_sinkhorn import PygmSinkhorn
from .sinkhorn import Sinkhorn

SOLVERS: dict[str, Any] = {
    "brute_force": BruteForce,
    "faq": FAQ,
    "greedy": Greedy,
    "hungarian": Hungarian,
    "lap": Lap,
    "pygm_sinkhorn": PygmSinkhorn,
    "sinkhorn": Sinkhorn,
}

__all__ = ["FAQ", "SOLVERS", "BruteForce", "Greedy", "Hungarian", "Lap", "PygmSinkhorn", "Sinkhorn"]

"""Solvers: callables from a problem to a solution, one file each; the file's name is the solver's name."""

from typing import Any

from .auction import Auction
from .brute_force import BruteForce
from .faq import FAQ
from .fgw import FGW
from .greedy import Greedy
from .hungarian import Hungarian
from .ipfp import IPFP
from .lap import Lap
from .pygm_sinkhorn import PygmSinkhorn
from .rrwm import RRWM
from .sinkhorn import Sinkhorn
from .sm import SM
from .sparse import Sparse

SOLVERS: dict[str, Any] = {
    "auction": Auction,
    "brute_force": BruteForce,
    "faq": FAQ,
    "fgw": FGW,
    "greedy": Greedy,
    "hungarian": Hungarian,
    "ipfp": IPFP,
    "lap": Lap,
    "pygm_sinkhorn": PygmSinkhorn,
    "rrwm": RRWM,
    "sinkhorn": Sinkhorn,
    "sm": SM,
    "sparse": Sparse,
}

__all__ = [
    "FAQ",
    "FGW",
    "IPFP",
    "RRWM",
    "SM",
    "SOLVERS",
    "Auction",
    "BruteForce",
    "Greedy",
    "Hungarian",
    "Lap",
    "PygmSinkhorn",
    "Sinkhorn",
    "Sparse",
]

"""Losses on matchings."""

from typing import Any

from .alignment import AlignmentLoss
from .cross_entropy import cross_entropy
from .fenchel_young import FenchelYoung
from .hamming import correspondence, hamming
from .infonce import InfoNCE
from .modalities import AlignmentOutput
from .plot import PLOT
from .siglip import SigLIP
from .spo_plus import SPOPlus
from .vlap import VLAP

LOSSES: dict[str, Any] = {
    "alignment": AlignmentLoss,
    "fenchel_young": FenchelYoung,
    "infonce": InfoNCE,
    "plot": PLOT,
    "siglip": SigLIP,
    "spo_plus": SPOPlus,
    "vlap": VLAP,
}

__all__ = [
    "LOSSES",
    "PLOT",
    "VLAP",
    "AlignmentLoss",
    "AlignmentOutput",
    "FenchelYoung",
    "InfoNCE",
    "SPOPlus",
    "SigLIP",
    "correspondence",
    "cross_entropy",
    "hamming",
]

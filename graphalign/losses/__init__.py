"""Losses on matchings."""

from typing import Any

from ..targets import correspondence
from .alignment import AlignmentLoss
from .fenchel_young import FenchelYoung
from .infonce import InfoNCE
from .modalities import ModalityLoss
from .on_matchings import cross_entropy, hamming
from .outputs import AlignmentOutput
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
    "ModalityLoss",
    "SPOPlus",
    "SigLIP",
    "correspondence",
    "cross_entropy",
    "hamming",
]

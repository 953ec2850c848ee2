"""Losses on matchings."""

from typing import Any

from ..targets import correspondence
from .alignment import AlignmentLoss
from .bounded import GCE, MAE
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
    "gce": GCE,
    "infonce": InfoNCE,
    "mae": MAE,
    "plot": PLOT,
    "siglip": SigLIP,
    "spo_plus": SPOPlus,
    "vlap": VLAP,
}

__all__ = [
    "GCE",
    "LOSSES",
    "MAE",
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

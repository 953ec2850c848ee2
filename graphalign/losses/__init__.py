"""Losses on matchings."""

from typing import Any

from .alignment import AlignmentLoss, AlignmentOutput
from .fenchel_young import FenchelYoung
from .hamming import correspondence, hamming
from .spo_plus import SPOPlus

LOSSES: dict[str, Any] = {"alignment": AlignmentLoss, "fenchel_young": FenchelYoung, "spo_plus": SPOPlus}

__all__ = ["LOSSES", "AlignmentLoss", "AlignmentOutput", "FenchelYoung", "SPOPlus", "correspondence", "hamming"]

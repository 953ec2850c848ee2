"""Losses on matchings."""

from typing import Any

from .alignment import AlignmentLoss, AlignmentOutput
from .fenchel_young import FenchelYoung
from .hamming import correspondence, hamming

LOSSES: dict[str, Any] = {"alignment": AlignmentLoss, "fenchel_young": FenchelYoung}

__all__ = ["LOSSES", "AlignmentLoss", "AlignmentOutput", "FenchelYoung", "correspondence", "hamming"]

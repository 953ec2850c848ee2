"""Losses on matchings."""

from typing import Any

from .alignment import AlignmentLoss, AlignmentOutput
from .hamming import correspondence, hamming

LOSSES: dict[str, Any] = {"alignment": AlignmentLoss}

__all__ = ["LOSSES", "AlignmentLoss", "AlignmentOutput", "correspondence", "hamming"]

"""What a check says when it fails."""

from __future__ import annotations

from torch import Tensor


def require(condition: bool | Tensor, sentence: str) -> None:
    """Raises AssertionError with the sentence unless the condition holds."""
    if not bool(condition):
        raise AssertionError(sentence)


def require_close(actual: Tensor, expected: Tensor, sentence: str, tolerance: float = 1e-5) -> None:
    """The same for tensors that may differ by `tolerance` in any entry."""
    worst = float((actual - expected).abs().max())
    require(worst <= tolerance, f"{sentence} (largest difference {worst:.2e}, allowed {tolerance:.0e})")

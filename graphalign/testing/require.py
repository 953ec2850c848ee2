"""Messages of failing checks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..problem import NodeEdge, Problem, Solution


def require(condition: bool | Tensor, sentence: str) -> None:
    """Raise AssertionError with the sentence unless the condition holds."""
    if not bool(condition):
        raise AssertionError(sentence)


def require_made(component: Any, suite: str) -> None:
    """Raise AssertionError for a class, which every suite would otherwise call in place of what it makes."""
    name = getattr(component, "__name__", "")
    require(not isinstance(component, type), f"{name} is a class; give what it makes, {suite}({name}())")


def require_a(kind: type, found: Any, sentence: str) -> None:
    """Raise AssertionError with the sentence, and the type that was found, where it is not of the kind."""
    require(isinstance(found, kind), f"{sentence}; this one gives a {type(found).__name__}")


def require_solution(found: Any, problem: Problem, sentence: str) -> None:
    """Raise AssertionError unless it is a `Solution` of a `NodeEdge` whose matching has the shape of the scores."""
    require_a(Solution, found, sentence)
    require_a(NodeEdge, found.value, "A Solution holds a NodeEdge, e.g. Solution(NodeEdge(matching))")
    require_fitting(found, problem)


def require_fitting(solution: Solution, problem: Problem) -> None:
    """Raise AssertionError unless the matching has the shape of the scores."""
    found, wanted = tuple(solution.matching.shape), tuple(problem.scores.node.shape)
    require(found == wanted, f"node scores of the shape {wanted} give a matching of the shape {found}")


def require_close(actual: Tensor, expected: Tensor, sentence: str, tolerance: float = 1e-5) -> None:
    """The same for tensors that may differ by `tolerance` in any entry."""
    worst = float((actual - expected).abs().max())
    require(worst <= tolerance, f"{sentence} (largest difference {worst:.2e}, allowed {tolerance:.0e})")

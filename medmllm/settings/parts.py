"""The parts of the alignment, by the specs that name them: each is built once, so that a fault shows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from medmllm.settings.messages import Problem
from medmllm.settings.schema import AlignConfig

ALIGNMENT = "alignment"
# Parts of the alignment, with the default of each.
PARTS = {
    kind: getattr(AlignConfig(), kind) for kind in ("loss", "criterion", "solver", "estimator", "graph", "affinity")
}


def check_parts(align: Any) -> Iterator[Problem]:
    """Build every part that is named in the section, and yield why one cannot be built.

    The default parts are known to build. They are passed over, as making a part loads torch, and commands that only
    read data do without.
    """
    named = {kind: align.get(kind) for kind in PARTS} if isinstance(align, dict) else {}
    named = {kind: spec for kind, spec in named.items() if isinstance(spec, str) and spec != PARTS[kind]}
    if not named:
        return
    from graphalign import build

    checks: dict[str, Callable[[str], object]] = {"loss": check_loss, "criterion": check_criterion}
    for kind, spec in named.items():
        try:
            checks.get(kind, partial(build, kind))(spec)
        except (ValueError, TypeError) as error:
            yield Problem(f"align.{kind}", str(error))


def check_loss(spec: str) -> None:
    """Raise ValueError unless `spec` names a loss over modalities, `alignment` without settings of its own."""
    import graphalign

    loss = graphalign.build("loss", spec)
    if not hasattr(loss, "reads_tokens"):
        raise ValueError(f"{spec!r} is a loss of a matching, not one over views: write align.criterion={spec}")
    if isinstance(loss, graphalign.AlignmentLoss) and spec != ALIGNMENT:
        raise ValueError(
            f"write {ALIGNMENT} as such, not {spec!r}: its settings have keys of their own, such as align.solver, "
            f"align.graph and align.criterion"
        )


def check_criterion(spec: str) -> None:
    """Raise ValueError unless `spec` names what graph alignment can minimise."""
    import graphalign
    from graphalign.losses.alignment import ON_MATCHINGS

    if spec in ON_MATCHINGS:
        return
    try:
        criterion = graphalign.build("loss", spec)
    except ValueError as error:
        raise ValueError(f"{error} As criteria also known: {', '.join(ON_MATCHINGS)}") from error
    if getattr(criterion, "on_matchings", False):
        return
    if not hasattr(criterion, "solver"):
        raise ValueError(f"{spec!r} is a loss over views, not one of a matching: use align.loss={spec}")
    if criterion.solver != type(criterion)().solver:
        raise ValueError(f"{spec!r} names a solver; leave it out there, as it is align.solver that solves")

"""What a sweep found: every point with its runs, and its difference from the reference."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

from medmllm.ablate.grid import Point
from medmllm.ablate.statistics import Array, Comparison, compare, holm
from medmllm.ablate.sweep import Outcome, Sweep
from medmllm.errors import RunError
from medmllm.run_folder import TIMINGS, RunFolder

SCHEMA = 1
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Arm:
    """One point of a grid.

    Attributes:
        point: axis -> label.
        seeds: of the runs that are done.
        accuracies: share of right answers on the test questions, run by run.
        matching: share of right pairs on held-out graphs, mean over runs.
        ms_per_step: median over the steps of all runs; runs that shared the machine are slower.
        failed: how many runs failed.
        reason: why the point has no run, or why the last one failed.
        comparison: with the reference, over the seeds that both have; None for the reference itself.
        p_holm: p of the comparison, raised for the number of comparisons.
    """

    point: Point
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]
    matching: float | None = None
    ms_per_step: float | None = None
    failed: int = 0
    reason: str = ""
    comparison: Comparison | None = None
    p_holm: float | None = None

    @property
    def label(self) -> str:
        """The point in words."""
        return " · ".join(self.point.values())

    @property
    def mean(self) -> float | None:
        return fmean(self.accuracies) if self.accuracies else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None with fewer than two."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def verdict(self) -> str:
        """What the comparison says, in words."""
        if self.comparison is None or self.p_holm is None:
            return "-"
        if self.p_holm >= SIGNIFICANT:
            return "not significant"
        return "better" if self.comparison.difference > 0 else "worse"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "mean": self.mean, "spread": self.spread, "verdict": self.verdict}


@dataclass(frozen=True)
class Results:
    """All points of a sweep, the best first.

    Attributes:
        reference: the point that the others are compared with.
        examples: ids of the test questions, which all runs were asked.
    """

    name: str
    reference: Point
    arms: tuple[Arm, ...]
    outcomes: tuple[Outcome, ...]
    examples: int

    @property
    def complete(self) -> bool:
        """Whether every run that fits together is done."""
        return all(outcome.status in ("done", "skipped") for outcome in self.outcomes)

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]

    def runs(self, arm: Arm) -> list[Outcome]:
        """The finished runs of a point."""
        return [outcome for outcome in self.outcomes if outcome.point == arm.point and outcome.status == "done"]

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "reference": self.reference,
            "examples": self.examples,
            "arms": [arm.to_dict() for arm in self.arms],
            "runs": [outcome.to_dict() for outcome in self.outcomes],
        }


def collect(sweep: Sweep, *, compared: bool = True) -> Results:
    """Reads every finished run of a sweep, and compares each point with the reference on the same questions.

    Args:
        sweep: what was run so far.
        compared: False leaves the comparisons out, which take seconds.

    Raises:
        RunError: two runs were not asked the same questions.
    """
    outcomes, reference = sweep.outcomes(), sweep.grid.arm()
    answers = {o.key: answered(sweep.cells / o.key) for o in outcomes if o.status == "done"}
    ids = {tuple(sorted(found)) for found in answers.values()}
    if len(ids) > 1:
        raise RunError("The runs of this sweep were not asked the same questions.", where=str(sweep.folder))
    tables = {
        o.key: np.array([answers[o.key][name] for name in sorted(answers[o.key])], float)
        for o in outcomes
        if o.key in answers
    }
    by_point = [[o for o in outcomes if o.point == point] for point in sweep.grid.points()]
    own = next(group for group in by_point if group[0].point == reference)
    arms = [
        _arm(sweep.cells, group, _compare(group, own, tables) if compared and group is not own else None)
        for group in by_point
    ]
    ranked = sorted(_with_holm(arms), key=lambda arm: -1.0 if arm.mean is None else arm.mean, reverse=True)
    return Results(sweep.grid.name, reference, tuple(ranked), tuple(outcomes), len(next(iter(ids), ())))


def answered(folder: Path) -> dict[str, float]:
    """Test question -> 1 where the run's answer is right, else 0."""
    lines = (folder / "eval" / "test.samples.jsonl").read_text("utf-8").splitlines()
    samples = map(json.loads, lines)
    counts: defaultdict[str, int] = defaultdict(int)
    found = {}
    for sample in samples:  # a picture is asked several questions, which may share its id
        name = f"{sample['id']}|{sample['question']}"
        counts[name] += 1
        found[f"{name}|{counts[name]}"] = float(sample["correct"])
    return found


def _arm(cells: Path, group: Sequence[Outcome], comparison: Comparison | None) -> Arm:
    done = [outcome for outcome in group if outcome.status == "done"]
    others = [outcome.error for outcome in group if outcome.status in ("failed", "skipped")]
    runs = [RunFolder(cells / outcome.key) for outcome in done]
    matching = [run.read_json("summary.json")["matching"]["after"] for run in runs]
    seconds = [line["seconds"] for run in runs for line in run.lines(TIMINGS)]
    return Arm(
        point=group[0].point,
        seeds=tuple(outcome.seed for outcome in done),
        accuracies=tuple(outcome.accuracy or 0.0 for outcome in done),
        matching=fmean(matching) if matching else None,
        ms_per_step=1000 * median(seconds) if seconds else None,
        failed=sum(outcome.status == "failed" for outcome in group),
        reason=others[-1] if others else "",
        comparison=comparison,
    )


def _compare(group: Sequence[Outcome], own: Sequence[Outcome], tables: dict[str, Array]) -> Comparison | None:
    """The comparison over the seeds that both points have; None without any."""
    first, second = ({o.seed: tables[o.key] for o in side if o.key in tables} for side in (group, own))
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    return compare([first[seed] for seed in seeds], [second[seed] for seed in seeds])


def _with_holm(arms: Sequence[Arm]) -> list[Arm]:
    raised = iter(holm([arm.comparison.p for arm in arms if arm.comparison]))
    return [replace(arm, p_holm=next(raised)) if arm.comparison else arm for arm in arms]

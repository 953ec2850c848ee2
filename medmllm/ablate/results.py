"""Results of a sweep: every point with its runs, and its difference from the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any, Literal

from medmllm.ablate.findings import Findings, Run
from medmllm.ablate.grid import Grid, Point, point_in_words
from medmllm.ablate.sweep import Sweep
from medmllm.errors import ConfigError
from medmllm.evaluate.statistics import Comparison, compare, holm

SCHEMA = 2
SIGNIFICANT = 0.05
EQUAL = "equal answers"
Unit = Literal["person", "question"]
UNITS: tuple[Unit, ...] = ("person", "question")


@dataclass(frozen=True)
class Arm:
    """One point of a grid.

    Attributes:
        point: axis -> label.
        seeds: of the runs that are done.
        accuracies: share of right answers, run by run.
        matching: share of right pairs on held-out graphs, mean over runs.
        guessing: share right of the most frequent training answers, mean over runs; None where it is not known.
        ms_per_step: mean over the runs' medians; runs that shared the machine are slower.
        failed: how many runs failed.
        reason: why the point has no run, or why the last one failed.
        reference: the point that it is compared with; None where there is none, or where it is one itself.
        comparison: with the reference, over the seeds that both have.
        p_holm: p of the comparison, raised for the number of comparisons.
    """

    point: Point
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]
    matching: float | None = None
    guessing: float | None = None
    ms_per_step: float | None = None
    failed: int = 0
    reason: str = ""
    reference: Point | None = None
    comparison: Comparison | None = None
    p_holm: float | None = None

    @property
    def label(self) -> str:
        """The point in words."""
        return point_in_words(self.point)

    @property
    def mean(self) -> float | None:
        return fmean(self.accuracies) if self.accuracies else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None with fewer than two."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def verdict(self) -> str:
        """The outcome of the comparison, in words. With one seed alone no difference is called clear."""
        if self.comparison is None or self.p_holm is None:
            return "-"
        if self.comparison.equal:
            return EQUAL
        if self.comparison.seeds < 2:
            return "one seed"
        if self.p_holm >= SIGNIFICANT:
            return "not significant"
        return "better" if self.comparison.difference > 0 else "worse"

    @property
    def sure(self) -> bool:
        """Whether it differs from its reference beyond chance."""
        return self.verdict in ("better", "worse")

    def to_dict(self) -> dict[str, Any]:
        told = {**asdict(self), "mean": self.mean, "spread": self.spread, "verdict": self.verdict}
        if self.comparison is None:
            return told
        p_holm = None if self.comparison.equal else self.p_holm
        return {**told, "comparison": self.comparison.to_dict(), "p_holm": p_holm}


@dataclass(frozen=True)
class Results:
    """All points of a sweep, the best first.

    Attributes:
        grid: that was run; its reference is what the points are compared with.
        unit: what the bootstrap draws beside seeds: people, or single questions.
        source: only questions whose source begins so were counted; "" for all.
        questions: how many were counted.
        people: how many people they are about.
    """

    grid: Grid
    arms: tuple[Arm, ...]
    runs: tuple[Run, ...]
    unit: Unit
    source: str
    questions: int
    people: int

    @property
    def name(self) -> str:
        return self.grid.name

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the columns that make a point."""
        return tuple(axis.name for axis in self.grid.axes)

    @property
    def reference(self) -> str:
        """The reference in words."""
        named = self.grid.reference or self.grid.reference_of({})
        rest = [axis for axis in self.axes if axis not in named]
        like = f" with the same {' and '.join(rest)}" if rest else ""
        return point_in_words(named) + like

    @property
    def complete(self) -> bool:
        """Whether every run that fits together is done."""
        return all(run.status in ("done", "skipped") for run in self.runs)

    @property
    def failures(self) -> list[Run]:
        return [run for run in self.runs if run.status == "failed"]

    def is_reference(self, arm: Arm) -> bool:
        """Whether others are compared with this point."""
        return self.grid.reference_of(arm.point) == arm.point

    def done(self, arm: Arm) -> list[Run]:
        """The finished runs of a point."""
        return [run for run in self.runs if run.point == arm.point and run.status == "done"]

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "split": self.grid.split,
            "source": self.source,
            "reference": dict(self.grid.reference),
            "unit": self.unit,
            "questions": self.questions,
            "people": self.people,
            "arms": [arm.to_dict() for arm in self.arms],
            "runs": [run_summary(run) for run in self.runs],
        }


def run_summary(run: Run) -> dict[str, Any]:
    """A run without its answers."""
    return {key: value for key, value in run.__dict__.items() if key not in ("right", "curve")}


def analyse(
    findings: Findings,
    *,
    reference: Mapping[str, str] | None = None,
    unit: Unit | None = None,
    source: str = "",
    compared: bool = True,
) -> Results:
    """Ranks the points, and compares each with the reference on the same questions and seeds.

    Args:
        findings: what was run so far.
        reference: another one than the grid's.
        unit: what is drawn: people with all their questions, which says how it is with other people; or questions,
            which says how it is with other questions about these people. People, if there are two.
        source: count only the questions whose source begins so.
        compared: False leaves the comparisons out, which take seconds.

    Raises:
        ConfigError: no question has the source, or all are about one person.
    """
    grid = findings.grid if reference is None else findings.grid.against(reference)
    kept = [i for i, question in enumerate(findings.questions) if question.source.startswith(source)]
    people = [findings.questions[i].person for i in kept]
    _check(findings, kept, people, source, unit)
    unit = unit or ("person" if len(set(people)) > 1 else "question")
    runs = [_counted(run, kept) for run in findings.runs]
    groups = [[run for run in runs if run.point == point] for point in grid.points()]
    arms = [_arm(group) for group in groups]
    if compared:
        drawn = people if unit == "person" else None
        arms = _with_holm([_compared(arm, grid, runs, drawn) for arm in arms])
    ranked = sorted(arms, key=lambda arm: -1.0 if arm.mean is None else arm.mean, reverse=True)
    return Results(grid, tuple(ranked), tuple(runs), unit, source, len(kept), len(set(people)))


def standing(sweep: Sweep) -> Results:
    """The ranking so far, without comparisons; reads no answers, so it takes no time."""
    runs = tuple(Run(**outcome.__dict__) for outcome in sweep.outcomes())
    return analyse(Findings(sweep.grid, (), runs), compared=False)


def _check(findings: Findings, kept: Sequence[int], people: Sequence[str], source: str, unit: Unit | None) -> None:
    if findings.questions and not kept:
        known = sorted({question.source for question in findings.questions})
        raise ConfigError(f"no question is from {source!r}", where="--source", hint=f"there are {', '.join(known)}")
    if kept and unit == "person" and len(set(people)) < 2:
        raise ConfigError(
            "all questions are about one person, so nothing can be said of others",
            where="--unit",
            hint="--unit question says how sure the difference is for this person",
        )


def _counted(run: Run, kept: Sequence[int]) -> Run:
    """A run with the answers that count."""
    if run.status != "done" or not len(run.right) or len(kept) == len(run.right):
        return run
    right = run.right[list(kept)]
    return replace(run, right=right, accuracy=float(right.mean()), guessing=None)  # it was of all questions


def _arm(group: Sequence[Run]) -> Arm:
    done = [run for run in group if run.status == "done"]
    others = [run.error for run in group if run.status in ("failed", "skipped")]
    return Arm(
        point=group[0].point,
        seeds=tuple(run.seed for run in done),
        accuracies=tuple(run.accuracy or 0.0 for run in done),
        matching=_mean(run.matching for run in done),
        guessing=_mean(run.guessing for run in done),
        ms_per_step=_mean(run.ms_per_step for run in done),
        failed=sum(run.status == "failed" for run in group),
        reason=others[-1] if others else "",
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _compared(arm: Arm, grid: Grid, runs: Sequence[Run], people: Sequence[str] | None) -> Arm:
    """The point with its comparison over the seeds that it shares with its reference; without, where there are none."""
    point = grid.reference_of(arm.point)
    if point == arm.point:
        return arm
    first, second = ({r.seed: r.right for r in runs if r.point == p and r.status == "done"} for p in (arm.point, point))
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return arm
    found = compare([first[seed] for seed in seeds], [second[seed] for seed in seeds], people, largest=1.0)
    return replace(arm, reference=point, comparison=found)


def _with_holm(arms: Sequence[Arm]) -> list[Arm]:
    raised = iter(holm([arm.comparison.p for arm in arms if arm.comparison]))
    return [replace(arm, p_holm=next(raised)) if arm.comparison else arm for arm in arms]

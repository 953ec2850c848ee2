"""The results of a sweep's runs, in one small file from which every figure can be made again.

findings.json.gz    the grid; the questions; for each run which of them it answered right, and a few curves
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from medmllm.ablate.grid import Grid, from_tree
from medmllm.ablate.sweep import Outcome, Sweep
from medmllm.errors import ConfigError, RunError, command_line
from medmllm.evaluate.measurable import measurable
from medmllm.evaluate.statistics import Array
from medmllm.run.folder import TIMINGS, RunFolder
from medmllm.text.jsonl import read_jsonl

SCHEMA = 1
FINDINGS = "findings.json.gz"
POINTS = 60  # of a curve of losses


@dataclass(frozen=True)
class Question:
    """One question that every run was asked.

    Attributes:
        name: unique.
        person: whom it is about; the image where no person is known.
        source: of the image.
        kind: of question.
    """

    name: str
    person: str
    source: str
    kind: str


@dataclass(frozen=True, eq=False)
class Run(Outcome):
    """What became of one cell, and what it found.

    Attributes:
        right: `(questions,)` 1 where the answer is right; empty where the run is not done.
        matching: share of right pairs on held-out graphs; None where every matching is right.
        guessing: share right of the most frequent training answers to these questions; None in older files.
        ms_per_step: median over the steps; a run that shared the machine is slower.
        curve: lines of metrics.jsonl: all validations, some of the losses.
    """

    right: Array = field(default_factory=lambda: np.empty(0))
    matching: float | None = None
    guessing: float | None = None
    ms_per_step: float | None = None
    curve: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values; the answers as bits in hexadecimal digits."""
        bits = np.packbits(self.right.astype(bool)).tobytes().hex()
        kept = {key: value for key, value in self.__dict__.items() if key != "guessing" or value is not None}
        return {**kept, "right": bits, "curve": list(self.curve)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], questions: int) -> Run:
        """The inverse of `to_dict`."""
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(saved["right"]), np.uint8))
        right = bits[: questions if len(bits) else 0].astype(float)
        return cls(**{**saved, "right": right, "curve": tuple(saved["curve"])})


@dataclass(frozen=True)
class Findings:
    """The runs of a grid and what each was asked and answered."""

    grid: Grid
    questions: tuple[Question, ...]
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, sweep: Sweep) -> Findings:
        """Read every finished run.

        Raises:
            RunError: two runs were not asked the same questions.
        """
        outcomes, asked = sweep.outcomes(), {}
        for outcome in outcomes:
            if outcome.status == "done" and outcome.key not in asked:
                asked[outcome.key] = _answers(sweep.cells / outcome.key, sweep.grid.split)
        questions = {tuple(sorted(found, key=lambda q: q.name)) for found in asked.values()}
        if len(questions) > 1:
            raise RunError("the runs of this sweep were not asked the same questions", where=str(sweep.folder))
        names = next(iter(questions), ())
        return cls(sweep.grid, names, tuple(_run(sweep, o, names, asked.get(o.key)) for o in outcomes))

    @classmethod
    def load(cls, path: Path) -> Findings:
        """The inverse of `save`.

        Raises:
            ConfigError: the file is none of ours.
        """
        try:
            tree = json.loads(gzip.decompress(path.read_bytes()))
            if tree["schema"] != SCHEMA:
                raise ValueError(f"schema {tree['schema']}")
            questions = tuple(Question(*row) for row in tree["questions"])
            runs = tuple(Run.from_dict(run, len(questions)) for run in tree["runs"])
            return cls(from_tree(tree["grid"]), questions, runs)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            hint = "exgra ablate leaves one in its folder"
            raise ConfigError(f"the file holds no findings: {error}", where=str(path), hint=hint) from error

    def save(self, path: Path) -> None:
        """Write the file; the same findings give the same bytes."""
        tree = {
            "schema": SCHEMA,
            "grid": self.grid.to_dict(),
            "questions": [list(question.__dict__.values()) for question in self.questions],
            "runs": [run.to_dict() for run in self.runs],
        }
        text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
        RunFolder(path.parent).write_bytes(path.name, gzip.compress(text.encode(), 9, mtime=0))


def _run(sweep: Sweep, outcome: Outcome, questions: Sequence[Question], answers: dict[Question, float] | None) -> Run:
    if answers is None:
        return Run(**outcome.__dict__)
    run = RunFolder(sweep.cells / outcome.key)
    seconds = [line["seconds"] for line in run.lines(TIMINGS)]
    found = run.read_json("summary.json")
    matching = found.get("matching", {})
    return Run(
        **outcome.__dict__,
        right=np.array([answers[question] for question in questions]),
        matching=matching.get("after") if measurable(matching.get("chance", 0.0)) else None,
        guessing=found[sweep.grid.split].get("majority"),
        ms_per_step=1000 * median(seconds) if seconds else None,
        curve=tuple(thinned(run.lines())),
    )


def _answers(folder: Path, split: str) -> dict[Question, float]:
    """Question -> 1 where the run's answer is right, else 0."""
    samples = read_jsonl(folder / "eval" / f"{split}.samples.jsonl", hint=command_line("eval", folder))
    counts: defaultdict[str, int] = defaultdict(int)
    found = {}
    for sample in samples:  # a picture is asked several questions, which may share its id
        name = f"{sample['id']}|{sample['question']}"
        counts[name] += 1
        question = Question(
            f"{name}|{counts[name]}",
            sample.get("subject") or sample.get("image", sample["id"]),
            sample.get("source", ""),
            sample.get("kind", ""),
        )
        found[question] = float(sample["correct"])
    return found


def thinned(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The validations, and the mean language-model loss of stretches of steps."""
    steps = [line for line in lines if "loss_lm" in line]
    kept: list[dict[str, Any]] = [dict(line) for line in lines if "validation" in line]
    width = -(-len(steps) // POINTS) if steps else 1
    for start in range(0, len(steps), width):
        stretch = steps[start : start + width]
        kept.append({"step": stretch[-1]["step"], "loss_lm": round(float(np.mean([s["loss_lm"] for s in stretch])), 5)})
    return kept

"""The visual chatbot task: free answers beside true ones, or beside another system's, before a judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphalign.counts import count_of
from medmllm.data.captions.private import refuse_private, refuse_private_source
from medmllm.data.formats import Reading
from medmllm.data.records import Record
from medmllm.endpoint import Endpoint
from medmllm.errors import ConfigError
from medmllm.evaluate.exam import SILENT, Asked, Exam
from medmllm.evaluate.items import Item, Said, pair, read_predictions
from medmllm.evaluate.judge import Pair, judge
from medmllm.evaluate.references import open_references
from medmllm.evaluate.role_words import without_role
from medmllm.run.callbacks import Listener

JUDGE_HERE = "judge it by a model on this machine"


@dataclass(frozen=True)
class Judge:
    """Who judges, how often at once, and with which seed."""

    endpoint: Endpoint
    workers: int = 4
    seed: int = 0


def judge_files(
    references: Path,
    predictions: Path,
    by: Judge,
    progress: Path,
    *,
    baseline: Path | None = None,
    missing_is_wrong: bool = False,
    split: str | None = None,
    language: str = "en",
    role: str | None = None,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """A file of answers judged beside the true ones, or beside those of another file.

    See `medmllm.evaluate.judge.judge` for what is returned. The judge knows of the image what the true answer says.
    """
    for file in (predictions, *([baseline] if baseline else [])):
        refuse_private(file, Reading(file, file.parent), hint=JUDGE_HERE)
    rows = open_references(references, language=language)
    answers = without_role(read_predictions(predictions, listener.message), role, predictions, listener.message)
    asked = rows.asked(split, {one.id for one in answers})
    for line in filter(None, (*rows.warnings, rows.line(asked))):
        listener.message(line)

    def said(answers: list[Said], path: Path) -> list[Item]:
        return pair(asked, answers, where=path, missing_is_wrong=missing_is_wrong)

    others = [item.reference for item in asked]
    if baseline is not None:
        theirs = without_role(read_predictions(baseline, listener.message), role, baseline, listener.message)
        others = [item.prediction for item in said(theirs, baseline)]
    pairs = [
        Pair(one.id, one.question, one.reference, one.prediction, other, one.kind, one.cluster)
        for one, other in zip(said(answers, predictions), others, strict=True)
    ]
    return _judged(pairs, by, progress, listener)


def judge_run(
    run: Path | str,
    asked: Asked,
    by: Judge,
    *,
    out: Path | None = None,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """A model's free answers judged beside the true ones; the judge knows of the image what its caption says.

    Kept are `eval/<name>.chatbot.json`, the answers, and `eval/<name>.grades.jsonl`, from which a call that was
    stopped continues.

    Raises:
        ConfigError: a model that is not a run, without a folder for the answers; or the data is marked private.
    """
    exam = Exam.open(run, asked, out=out, listener=listener)
    refuse_private_source(exam.source, hint=JUDGE_HERE)
    if exam.place is None:
        raise ConfigError("grades cost money, so they need a folder to be kept in", where="--out", hint="--out FOLDER")
    samples = exam.answer(f"{asked.name}.chatbot", listener=listener)
    pairs = [_pair(sample.record, sample.prediction) for sample in samples]
    told = _judged(pairs, by, exam.place.path / "eval" / f"{asked.name}.grades.jsonl", listener)
    exam.place.write_json(f"eval/{asked.name}.chatbot.json", told)
    return told


def _pair(record: Record, said: str) -> Pair:
    cluster = record.person
    return Pair(record.id, record.question, record.caption, said, record.answer, record.kind, cluster)


def _judged(pairs: Sequence[Pair], by: Judge, progress: Path, listener: Listener) -> dict[str, Any]:
    heard: Callable[[int, int], None] = listener.answered
    listener.message(f"{by.endpoint.model} grades {count_of(len(pairs), 'pair')} of answers, each in both orders")
    return judge(pairs, by.endpoint, progress, seed=by.seed, workers=by.workers, heard=heard)

"""Evaluation of a trained model on a split: answers, scores, and the samples behind them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import LlavaForConditionalGeneration

from graphalign.counts import count_of
from medmllm.data.records import Record
from medmllm.errors import DataError, command_line
from medmllm.evaluate.compare import compare_systems
from medmllm.evaluate.exam import SILENT, Asked, Exam
from medmllm.evaluate.generate import Asker, answers
from medmllm.evaluate.items import pair, read_predictions
from medmllm.evaluate.report import score_items
from medmllm.evaluate.scores import Sample, score
from medmllm.run.callbacks import Listener
from medmllm.run.folder import RunFolder
from medmllm.settings.schema import EvalConfig


def evaluate_model(
    run: Path | str,
    asked: Asked | None = None,
    *,
    out: Path | None = None,
    baseline: Path | None = None,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """Answers a split with the model of a run, or any saved LLaVA, and scores the answers.

    Args:
        run: a run folder, a folder that `save_pretrained` wrote, or an id on the hub.
        asked: what is asked, and how; the test questions of the run's own data where None.
        out: where answers and scores go; a run's own folder where None, and nowhere for any other model.
        baseline: a run that was asked the same, to compare with.
        listener: hears how it goes.

    Returns:
        The scores (`medmllm.evaluate.scores.score`), with `data`, the source of the questions, and `comparison` to the
        baseline. Kept are `eval/<name>.json` and `eval/<name>.samples.jsonl`, under a name that says a limit or other
        data, so that the run's own results are never replaced. An evaluation that was killed continues where it was.
    """
    asked = asked or Asked()
    if baseline is not None:
        answers_of(baseline, asked)  # says that there are none before anything is answered
    exam = Exam.open(run, asked, out=out, listener=listener)
    listener.message(f"{exam.model} answers {count_of(len(exam.records), 'question')} of {exam.data} ({asked.name})")
    samples = exam.answer(listener=listener)
    scores = {**score(samples, exam.majority), "data": exam.data}
    if baseline is not None:
        scores["comparison"] = compare_with(baseline, asked, samples)
    if exam.place:
        save_evaluation(exam.place, asked.name, scores, samples)
        exam.done()
    return scores


def answers_of(baseline: Path, asked: Asked) -> Path:
    """The file of another run's answers to the same questions.

    Raises:
        DataError: the other run was not asked.
    """
    path = baseline / "eval" / f"{asked.name}.samples.jsonl"
    if not path.is_file():
        options = {"--split": asked.split, "--limit": asked.limit, "--data": asked.source, "--window": asked.window}
        words = [word for name, value in options.items() if value is not None for word in (name, value)]
        hint = command_line("eval", baseline, *words)
        raise DataError("the baseline has no answers to these questions", where=str(path), hint=hint)
    return path


def compare_with(baseline: Path, asked: Asked, samples: Sequence[Sample]) -> dict[str, Any]:
    """The difference of answers to those that another run's folder keeps under the same name.

    Raises:
        DataError: the other run was not asked, or was asked something else.
    """
    path = answers_of(baseline, asked)
    items = [sample.item for sample in samples]
    return compare_systems(score_items(items), score_items(pair(items, read_predictions(path), where=path)))


def predict(
    llava: LlavaForConditionalGeneration, asker: Asker, records: Sequence[Record], config: EvalConfig
) -> list[Sample]:
    """Each record with the model's answer."""
    texts = answers(llava, asker, records, batch_size=config.batch_size, max_new_tokens=config.max_new_tokens)
    return [Sample(record, text) for record, text in zip(records, texts, strict=True)]


def save_evaluation(run: RunFolder, name: str, scores: dict[str, Any], samples: Sequence[Sample]) -> None:
    """Write `eval/<name>.json` and, a line each, `eval/<name>.samples.jsonl`."""
    run.write_json(f"eval/{name}.json", scores)
    lines = (json.dumps(sample.to_dict(), ensure_ascii=False) + "\n" for sample in samples)
    run.write_text(f"eval/{name}.samples.jsonl", "".join(lines))

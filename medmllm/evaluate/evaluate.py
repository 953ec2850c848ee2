"""Evaluation of a trained model on a split: answers, scores, and the samples behind them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoProcessor, LlavaForConditionalGeneration

from medmllm.config import Config, EvalConfig
from medmllm.data.batches import Reader
from medmllm.data.conversation import Encoder
from medmllm.data.records import Record
from medmllm.data.sources import Source, open_source
from medmllm.errors import ConfigError
from medmllm.evaluate.baselines import majority_answers
from medmllm.evaluate.generate import answers
from medmllm.evaluate.scores import Sample, score
from medmllm.run_folder import RunFolder
from medmllm.settings import load


def evaluate(run: Path, *, split: str = "test", limit: int | None = None, source: str | None = None) -> dict[str, Any]:
    """Answers `split` with the model of a run (or a bare model folder) and scores the answers.

    Args:
        run: a run folder, or a folder that `save_pretrained` wrote.
        split: split of the data set.
        limit: use the first so many records.
        source: another LLaVA-style file than the run's own data; all of its rows are asked.

    Returns:
        The scores, as `eval/<split>.json` of a run holds them; a run's own folder gets both files. Those of another
        file are named after it, so that they never replace the run's own.
    """
    folder = run / "model" if (run / "model").is_dir() else run
    config = load(str(run / "config.yaml")) if (run / "config.yaml").exists() else Config()
    if source is not None:
        whole = {"source": source, "validation": source, "fraction": 1.0}
        config = config.model_copy(update={"data": config.data.model_copy(update=whole)})
    data = open_source(config.data)
    llava, reader = load_model(folder, data)
    samples = predict(llava, reader, spread(data.records(split), limit), config.eval)
    scores = score(samples, majority_answers(data.records("train")))
    if folder != run:
        save_evaluation(RunFolder(run), split if source is None else Path(source).stem, scores, samples)
    return scores


def load_model(folder: Path, source: Source) -> tuple[LlavaForConditionalGeneration, Reader]:
    """A saved model ready to answer about `source`."""
    if not (folder / "config.json").exists():
        raise ConfigError(
            f"{folder} holds no model.", where="RUN|MODEL", hint="give a finished run, or a folder with config.json"
        )
    processor = AutoProcessor.from_pretrained(folder)
    llava = LlavaForConditionalGeneration.from_pretrained(folder)
    encoder = Encoder(processor.tokenizer, llava.config.image_seq_length)
    return llava.eval(), Reader(source, encoder, processor)


def spread(records: Sequence[Record], limit: int | None) -> Sequence[Record]:
    """All records, or `limit` of them spread evenly over the rest."""
    if limit is None or limit >= len(records):
        return records
    return [records[i * len(records) // limit] for i in range(limit)]


def predict(
    llava: LlavaForConditionalGeneration, reader: Reader, records: Sequence[Record], config: EvalConfig
) -> list[Sample]:
    """Each record with the model's answer."""
    texts = answers(llava, reader, records, batch_size=config.batch_size, max_new_tokens=config.max_new_tokens)
    return [Sample(record, text) for record, text in zip(records, texts, strict=True)]


def save_evaluation(run: RunFolder, name: str, scores: dict[str, Any], samples: Sequence[Sample]) -> None:
    """Writes `eval/<name>.json` and, a line each, `eval/<name>.samples.jsonl`."""
    run.write_json(f"eval/{name}.json", scores)
    lines = (json.dumps(sample.to_dict(), ensure_ascii=False) + "\n" for sample in samples)
    run.write_text(f"eval/{name}.samples.jsonl", "".join(lines))

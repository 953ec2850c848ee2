"""Evaluation of a trained model on a split: answers, scores, and the samples behind them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoProcessor, LlavaForConditionalGeneration

from medmllm.config import Config, DataConfig, EvalConfig
from medmllm.data.batches import Reader
from medmllm.data.chat import chat_of
from medmllm.data.conversation import Encoder
from medmllm.data.records import Record
from medmllm.data.sources import Source, open_source
from medmllm.errors import ConfigError
from medmllm.evaluate.baselines import majority_answers
from medmllm.evaluate.generate import answers
from medmllm.evaluate.scores import Sample, score
from medmllm.model.opening import open_llava
from medmllm.run_folder import RunFolder
from medmllm.settings import load


def evaluate(run: Path, *, split: str = "test", limit: int | None = None, source: str | None = None) -> dict[str, Any]:
    """Answers `split` with the model of a run (or a bare model folder) and scores the answers.

    Args:
        run: a run folder, or a folder that `save_pretrained` wrote.
        split: split of the data set.
        limit: use so many records, spread evenly over the split.
        source: another LLaVA-style file than the run's own data; all of its rows are asked.

    Returns:
        The scores. A run's own folder gets them too, as `eval/<split>.json`, or under a name that tells the limit or
        the other file, so that the run's own results are never replaced by others.
    """
    folder = run / "model" if (run / "model").is_dir() else run
    config = load(str(run / "config.yaml")) if (run / "config.yaml").exists() else Config()
    own = open_source(config.data)
    data = own if source is None else open_source(DataConfig(source=source, validation=source))
    llava, reader = load_model(folder, data)
    samples = predict(llava, reader, spread(data.records(split), limit), config.eval)
    trained_on = None if source is not None and folder == run else majority_answers(own.records("train"))
    scores = score(samples, trained_on)
    if folder != run:
        save_evaluation(RunFolder(run), _name(split, limit, source), scores, samples)
    return scores


def _name(split: str, limit: int | None, source: str | None) -> str:
    asked = split if source is None else f"data_{Path(source).stem}"
    return asked if limit is None else f"{asked}_limit{limit}"


def load_model(folder: Path, source: Source) -> tuple[LlavaForConditionalGeneration, Reader]:
    """A saved model ready to answer about `source`."""
    if not (folder / "config.json").exists():
        raise ConfigError(
            f"{folder} holds no model.", where="RUN|MODEL", hint="give a finished run, or a folder with config.json"
        )
    processor = AutoProcessor.from_pretrained(folder)
    llava = open_llava(folder)
    chat = chat_of(processor.chat_template) or "vicuna"
    encoder = Encoder(processor.tokenizer, llava.config.image_seq_length, chat)
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

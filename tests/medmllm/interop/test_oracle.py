"""Beside numbers that released programs computed from checkpoints in their own layout.

EXGRA_ORACLE names a folder with `*/generation.json` or `*/oracle.json` (by checkpoint: rows with `image`, `question`,
`input_ids` with -200 for an image, `logits_last`, `greedy_ids`, `pixel_sum`), with `*/training.json` or
`*/oracle_training.json` (`samples` or `conversations`, and results with `input_ids`, `labels`, `loss`), and with the
checkpoints and `images/` beside them.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from medmllm.build import build_job
from medmllm.data.records import Record
from medmllm.evaluate.loading import asker
from medmllm.evaluate.unanswered import FolderImages
from medmllm.interop.convert import convert
from medmllm.model.hub import find_processor
from medmllm.settings.schema import Config

ORACLE = Path(os.environ.get("EXGRA_ORACLE", "none"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not ORACLE.is_dir(), reason="EXGRA_ORACLE names no folder")]


def answered():
    """(checkpoint, its rows) of every file of generations."""
    for file in (*ORACLE.glob("*/generation.json"), *ORACLE.glob("*/oracle.json")):
        for name, found in json.loads(file.read_text()).items():
            yield file.parent / name, found["rows"] if isinstance(found, dict) else found


def trained():
    """(checkpoint, its rows as a data file has them, its results) of every file of training rows."""
    for file in (*ORACLE.glob("*/training.json"), *ORACLE.glob("*/oracle_training.json")):
        whole = json.loads(file.read_text())
        for name, found in whole["results"].items():
            results = found["samples"] if isinstance(found, dict) else found
            yield file.parent / name, whole.get("samples") or whole["conversations"], results


def opened(folder, out):
    convert(folder, out)
    model = LlavaForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    return model, find_processor(out, "MODEL")


def spread_out(ids, values, places):
    """Values of a row of ids, in which -200 means all the places of an image."""
    return [v for i, value in zip(ids, values, strict=True) for v in [value] * (places if i == -200 else 1)]


@torch.no_grad()
@pytest.mark.parametrize(("folder", "rows"), list(answered()), ids=lambda part: getattr(part, "name", ""))
def test_generation(folder, rows, tmp_path):
    model, processor = opened(folder, tmp_path / "stock")
    ask, image = asker(model, processor, FolderImages(folder.parent / "images")), model.config.image_token_id
    for row in rows:
        inputs = ask.questions([Record("q", row["image"], ((row["question"], ""),), "", "")])
        ids = spread_out(row["input_ids"], row["input_ids"], model.config.image_seq_length)
        assert inputs["input_ids"][0].tolist() == [image if i == -200 else i for i in ids]
        assert inputs["pixel_values"].sum().item() == pytest.approx(row["pixel_sum"], abs=0.01)
        wanted = torch.tensor(row["logits_last"])
        torch.testing.assert_close(model(**inputs).logits[0, -1, : len(wanted)], wanted, rtol=0, atol=1e-3)
        said = model.generate(**inputs, max_new_tokens=len(row["greedy_ids"]), do_sample=False)
        assert said[0, inputs["input_ids"].shape[1] :].tolist() == row["greedy_ids"]


@torch.no_grad()
@pytest.mark.parametrize(("folder", "samples", "results"), list(trained()), ids=lambda part: getattr(part, "name", ""))
def test_training_rows(folder, samples, results, tmp_path):
    model, _ = opened(folder, tmp_path / "stock")
    for file in (folder.parent / "images").iterdir():
        shutil.copy(file, tmp_path)
    data = str(tmp_path / "rows.json")
    Path(data).write_text(json.dumps([sample | {"id": str(n)} for n, sample in enumerate(samples)]))
    tree = {"data": {"source": data, "validation": data}, "model": {"source": str(tmp_path / "stock")}}
    job = build_job(Config.model_validate(tree | {"train": {"batch_size": 1}, "device": "cpu"}))
    records = sorted(job.records, key=lambda record: int(record.id))
    image, places = model.config.image_token_id, model.config.image_seq_length
    for record, result in zip(records, results, strict=True):
        ids = spread_out(result["input_ids"], result["input_ids"], places)
        labels = spread_out(result["input_ids"], result["labels"], places)
        row = torch.tensor([[image if i == -200 else i for i in ids]])
        assert job.reader.encoder.conversation(record).ids == row[0].tolist()
        loss = model(input_ids=row, pixel_values=job.reader.pixels([record]), labels=torch.tensor([labels])).loss
        assert loss.item() == pytest.approx(result["loss"], abs=1e-4)

"""A step of this trainer beside other trainers: the same model, the same rows, batches of 32, one thread each.

    pip install trl datasets
    python benchmarks/trainers.py --out benchmarks/results/trainers-cpu.json

Every contender is a process of its own. They take turns, a few steps each, so that whatever else the machine does meets
all of them, and processor time counts. The bare loops have their batches ready and do no more than a step has to: pass,
gradient, clipping, AdamW. The others read, decode and encode their rows, as they do in a run. Short rows are the
embedded data's; in long rows the answer is the caption, one to six times.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

BATCH, STEPS = 32, 1000
PACKAGES = {"transformers": "transformers", "trl": "trl"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps of one turn")
    parser.add_argument("--only", action="append", choices=CONTENDERS, help="a contender; may be repeated")
    parser.add_argument("--out", type=Path, help="write the document here too")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return
    names = [name for name in options.only or CONTENDERS if importlib.util.find_spec(PACKAGES.get(name, "torch"))]
    tables = {length: race(names, length, options.rounds, options.steps) for length in ("short", "long")}
    packages = {name: version(name) for name in ("torch", "transformers", *(n for n in names if n == "trl"))}
    document = {"versions": packages, "absent": [n for n in CONTENDERS if n not in names], "rows": tables}
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


def race(names: list[str], length: str, rounds: int, steps: int) -> dict[str, dict[str, float]]:
    """By contender the median processor seconds of a step, and that over the bare packed loop's of the same round."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000", "CUDA_VISIBLE_DEVICES": ""}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    command = [sys.executable, __file__, "--serve"]
    running = {name: subprocess.Popen([*command, name, length], **pipes) for name in names}
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name, process in running.items():
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
            found = float(process.stdout.readline())
            if turn:  # the first turn warms up
                taken[name].append(found)
        told = ", ".join(f"{name} {found[-1]:.3f}" for name, found in taken.items() if found)
        print(f"{length}, round {turn} of {rounds}: {told}", file=sys.stderr, flush=True)
    for process in running.values():
        process.kill()
        process.wait()
    base = taken.get("bare packed", taken[names[0]])
    return {
        name: {"cpu_seconds": median(found), "ratio": median(a / b for a, b in zip(found, base, strict=True))}
        for name, found in taken.items()
    }


def table(document: dict[str, Any]) -> str:
    """The document as a table in Markdown."""
    packages = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    lines = [
        f"{packages}; one thread, processor time; ratios are over the bare packed loop.",
        "",
        "| contender | short, s a step | ratio | long, s a step | ratio |",
        "| --- | --: | --: | --: | --: |",
    ]
    for name in document["rows"]["short"]:
        found = [document["rows"][length][name] for length in ("short", "long")]
        lines.append(f"| {name} | " + " | ".join(f"{f['cpu_seconds']:.2f} | {f['ratio']:.2f}" for f in found) + " |")
    return "\n".join(lines)


def serve(name: str, length: str) -> None:
    """Take as many steps as each line of stdin says, and answer with processor seconds a step."""
    import torch

    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # trainers print
    wanted, begin, left = 0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in CONTENDERS[name](job_of(length, aligned=name == "exgra, aligned"), Path(folder)):
            left -= 1
            if left <= 0:
                if wanted:
                    print((time.process_time() - begin) / wanted, file=answers, flush=True)
                wanted = left = int(sys.stdin.readline())
                begin = time.process_time()


def job_of(length: str, *, aligned: bool) -> Any:
    """The demo's model and rows; the weights are the same in every process."""
    from medmllm.build import build_job
    from medmllm.settings.load import load_config

    words = ["device=cpu", f"train.steps={STEPS}", f"train.batch_size={BATCH}", "model.language.max_length=4096"]
    job = build_job(load_config("demo", words if aligned else [*words, "align.weight=0"]))
    if length == "short":
        return job
    long = (
        replace(r, turns=((r.question, " ".join([r.caption] * (1 + n % 6))),), sentence=r.caption)
        for n, r in enumerate(job.records)
    )
    return replace(job, splits={**job.splits, "train": tuple(long)})


def ours(job: Any, folder: Path) -> Iterator[None]:
    """The trainer of `exgra train`, in its last stage; yields before each step."""
    from medmllm.distributed import process
    from medmllm.run.callbacks import Listener
    from medmllm.run.folder import RunFolder
    from medmllm.training.loader import Steps, load_batches
    from medmllm.training.parallel import open_accelerator
    from medmllm.training.trainer import Trainer

    trainer = Trainer(job, RunFolder.open(folder / "run", resume=False), Listener(), open_accelerator(job.config))
    stage = trainer.plan[-1]
    trainer.enter(stage)
    batches = load_batches(Steps(job, process()), stage.first, trainer.device)
    for step in range(stage.first, STEPS):
        yield
        trainer.step(step, batches)


def bare(job: Any, loss_of: Callable[[Any], Any], batches: list[Any]) -> Iterator[None]:
    """Pass, gradient, clipping and AdamW over batches that are there."""
    import torch

    parameters = [p for p in job.model.packed.llava.train().parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    for number in count():
        yield
        loss_of(batches[number % len(batches)]).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def bare_packed(job: Any, folder: Path) -> Iterator[None]:
    """Conversations in one row, each attending to itself, the head on learnt tokens only."""
    import torch

    llava = job.model.packed.llava

    def loss_of(batch: Any) -> Any:
        row = batch.row(range(len(batch.lengths)))
        images = torch.stack(list(llava.model.get_image_features(batch.pixel_values, return_dict=True).pooler_output))
        places = (row.input_ids == llava.config.image_token_id)[..., None]
        embedded = llava.get_input_embeddings()(row.input_ids).masked_scatter(places, images)
        hidden = llava.model.language_model(
            inputs_embeds=embedded,
            position_ids=row.position_ids,
            use_cache=False,
            bounds=row.bounds,
            longest=row.longest,
        ).last_hidden_state[0]
        learnt = (batch.labels[0] != -100).nonzero()[:, 0]
        return torch.nn.functional.cross_entropy(llava.lm_head(hidden[learnt - 1]), batch.labels[0, learnt])

    packed = [job.reader.pack(rows, texts=()) for rows in some_rows(job, 12)]
    return bare(job, loss_of, packed)


def bare_padded(job: Any, folder: Path) -> Iterator[None]:
    """LLaVA as transformers computes it, over padded rows."""
    llava, collate = padded_model(job), collator(job)
    return bare(job, lambda batch: llava(**batch).loss, [collate(rows) for rows in some_rows(job, 12)])


def transformers_trainer(job: Any, folder: Path) -> Iterator[None]:
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(**settings(folder))
    return driven(
        Trainer, model=padded_model(job), args=arguments, train_dataset=job.records, data_collator=collator(job)
    )


def trl_trainer(job: Any, folder: Path) -> Iterator[None]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(**settings(folder), dataset_kwargs={"skip_prepare_dataset": True})
    collate, records = collator(job), job.records
    numbers = Dataset.from_dict({"number": list(range(len(records)))})
    return driven(
        SFTTrainer,
        model=padded_model(job),
        args=arguments,
        train_dataset=numbers,
        data_collator=lambda rows: collate([records[row["number"]] for row in rows]),
        processing_class=job.reader.tokenizer,
    )


def driven(kind: Any, **given: Any) -> Iterator[None]:
    """A trainer of transformers' family, held before each of its steps."""
    from threading import Event, Thread

    from transformers import TrainerCallback

    ready, go = Event(), Event()

    class Holder(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *unused: Any, **more: Any) -> None:
            ready.set()
            go.wait()
            go.clear()

    trainer = kind(**given, callbacks=[Holder()])
    Thread(target=trainer.train, daemon=True).start()
    while True:
        ready.wait()
        ready.clear()
        yield
        go.set()


def settings(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder), "per_device_train_batch_size": BATCH, "max_steps": STEPS, "learning_rate": 1e-4,
        "remove_unused_columns": False, "report_to": [], "save_strategy": "no", "logging_strategy": "no",
        "use_cpu": True, "disable_tqdm": True, "bf16": False,
    }  # fmt: skip


def padded_model(job: Any) -> Any:
    """The model with the attention that padding needs."""
    llava = job.model.packed.llava
    llava.model.language_model.config._attn_implementation = "sdpa"
    return llava.train()


def collator(job: Any) -> Callable[[Any], dict[str, Any]]:
    """Rows as LLaVA takes them: ids padded on the right, answers as labels, pixels of the processor."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    reader, images = job.reader, job.reader.processor.image_processor

    def collate(records: Any) -> dict[str, Any]:
        rows = [reader.encoder.conversation(record) for record in records]
        ids = pad_sequence([torch.tensor(row.ids) for row in rows], True, reader.tokenizer.pad_token_id)
        labels = pad_sequence([torch.tensor(row.labels) for row in rows], True, -100)
        mask = pad_sequence([torch.ones(len(row.ids), dtype=torch.int64) for row in rows], True)
        pixels = images([reader.source.image(record) for record in records], return_tensors="pt").pixel_values
        return {"input_ids": ids, "labels": labels, "attention_mask": mask, "pixel_values": pixels}

    return collate


def some_rows(job: Any, batches: int) -> list[Any]:
    """Records of the first batches, as the trainer deals them."""
    from medmllm.training.loader import order_of

    order = order_of(job.records, job.config)
    return [[job.records[i] for i in order.indices(step)] for step in range(batches)]


CONTENDERS: dict[str, Callable[[Any, Path], Iterator[None]]] = {
    "exgra, plain": ours,
    "exgra, aligned": ours,
    "bare packed": bare_packed,
    "bare padded": bare_padded,
    "transformers": transformers_trainer,
    "trl": trl_trainer,
}

if __name__ == "__main__":
    main()

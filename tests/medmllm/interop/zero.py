"""Four steps of transformers' Trainer with the mixin; with the name of a DeepSpeed configuration, sharded by it.

python zero.py CONFIG OUT none|zero2|zero3
"""

import json
import os
import sys
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments

from medmllm.build import build_job
from medmllm.interop.trainer import GraphAligned, collate
from medmllm.model.parts import train_only
from medmllm.settings.load import PRESETS, load_config


class Mine(GraphAligned, Trainer):
    """A user's program."""


def main(config_file, out, zero, precision):
    torch.set_num_threads(1)
    config, world = load_config(config_file), int(os.environ.get("WORLD_SIZE", "1"))
    job = build_job(config)  # before the arguments: with ZeRO 3 these change how transformers makes a model
    train_only(job.model.packed.llava, ("vision", "projector", "language"))
    sharded = None
    if zero != "none":
        sharded = json.loads((PRESETS / "deepspeed" / f"{zero}.json").read_text())
        sharded["torch_autocast"]["enabled"] = precision == "half"
    arguments = TrainingArguments(
        output_dir=out, use_cpu=True, remove_unused_columns=False, disable_tqdm=True, report_to=[], save_strategy="no",
        max_steps=4, per_device_train_batch_size=config.train.batch_size // world, learning_rate=0.01, seed=7,
        lr_scheduler_type="constant", optim="adamw_torch", logging_steps=1, deepspeed=sharded,
    )  # fmt: skip
    trainer = Mine(model=job.model, args=arguments, train_dataset=list(job.records), data_collator=collate(job.reader))
    trainer.train()
    if trainer.is_world_process_zero():
        figures = [[line["loss"], line["grad_norm"]] for line in trainer.state.log_history if "loss" in line]
        (Path(out) / "figures.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])

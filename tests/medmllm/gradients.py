"""Program: the gradients of one step in float64, of every way to carry it out that the number of processes allows."""

import sys
from pathlib import Path

import torch

from medmllm.build import build_job
from medmllm.distributed import process, process_group
from medmllm.run.callbacks import Listener
from medmllm.run.folder import Follower
from medmllm.settings.load import load_config
from medmllm.training.figures import step_losses
from medmllm.training.loader import Steps
from medmllm.training.parallel import open_accelerator, release, whole
from medmllm.training.trainer import Trainer

WAYS = {
    "plain": {},
    "samples": {"micro_batch": 3},
    "tokens": {"micro_tokens": 330},
    "fsdp": {"strategy": "fsdp"},
    "fsdp-samples": {"strategy": "fsdp", "micro_batch": 2},
}


def gradients(config, path):
    """Parameter -> gradient of the first step, and the loss."""
    accelerator = open_accelerator(config)
    torch.set_default_dtype(torch.float64)
    job = build_job(config)
    torch.set_default_dtype(torch.float32)
    job.model.double()
    trainer = Trainer(job, Follower(path), Listener(), accelerator)
    trainer.enter(trainer.plan[0])
    passes = [batch.to(accelerator.device) for batch in Steps(job, process())[0]]
    for batch in passes:
        object.__setattr__(batch, "pixel_values", batch.pixel_values.double())
    out = trainer.learn(passes, config.align.weight, 0)
    figures = step_losses(out, config.train.caption_weight, config.align.weight, None)
    norm = torch.tensor(figures["grad_norm_align"], dtype=torch.float64)
    found = {name: whole(p.grad).clone() for name, p in job.model.named_parameters() if p.grad is not None}
    release(trainer.net)
    losses = {"loss": out.answer_loss, "align": out.alignment.loss.detach(), "norm": norm}
    return {**losses, "passes": torch.tensor(len(passes)), **found}


def main(config_file, out, names):
    torch.set_num_threads(1)
    config = load_config(config_file)
    with process_group():
        results = {}
        for name in names.split(","):
            engine = config.engine.model_copy(update=WAYS[name])
            results[name] = gradients(config.model_copy(update={"engine": engine}), Path(out).parent)
        if process().rank == 0:
            torch.save(results, out)


main(*sys.argv[1:])

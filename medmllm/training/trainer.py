"""The trainer: read it top to bottom.

`train` makes the objects and the folder, `Trainer.run` is the loop, `Trainer.step` a step of it. Its inputs are a
function of (configuration, seed, step): the batch, the noise of the matching, the learning rate. So a run that was
killed and resumed writes the same metrics and weights as one that was not, and the number of processes and of passes
decides only where a sample is computed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from medmllm.build import Job, build_job
from medmllm.data.batches import seed_of, step_generator
from medmllm.data.packing import PackedBatch
from medmllm.distributed import anywhere, process, process_group, together, told_by_first
from medmllm.model.aligned import StepOutput, training_step
from medmllm.model.alignment import solver_time
from medmllm.model.packed import PackedOutput
from medmllm.model.parts import train_only
from medmllm.planning.plan import check_config
from medmllm.run import checkpoint
from medmllm.run.callbacks import Listener
from medmllm.run.folder import METRICS, TIMINGS, Follower, RunFolder, check_folder, claimed
from medmllm.settings.schema import Config
from medmllm.settings.stages import Stage, alignment_weight, is_due, learning_rate, stage_at, stages
from medmllm.training.failures import diverged, explained
from medmllm.training.figures import step_losses
from medmllm.training.finish import conclude
from medmllm.training.interrupt import interruptible
from medmllm.training.loader import Steps, load_batches
from medmllm.training.memory import keep_freed_memory
from medmllm.training.observers import profiled, tracked
from medmllm.training.optimizer import build_optimizer, named_state, restore_state
from medmllm.training.parallel import (
    average_gradients,
    clip,
    open_accelerator,
    place_model,
    reduce_gradients,
    release,
    replicate,
)
from medmllm.training.provenance import (
    already_done,
    check_data,
    check_settings,
    describe_data,
    restore_files,
    write_settings,
)
from medmllm.training.validation import validated


def train(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    overrides: Sequence[str] = (),
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Trains, evaluates, and leaves a complete run folder.

    Under torchrun every process calls it; the arguments of the first count, and it alone writes.

    Args:
        config: every setting; saved as `config.yaml`, from which the run can be repeated.
        out: the run folder; must be new unless `resume`.
        resume: continue from the newest checkpoint, or from the beginning where there is none; the number of
            processes may be another.
        overrides: what the caller typed, kept for the record.
        listener: hears of steps and validations.

    Returns:
        The summary, as in `summary.json`; nothing in processes but the first.

    Raises:
        UserError: configuration, data or run failed; the message says what to do. KeyboardInterrupt after a
            checkpoint was saved.
    """
    with process_group(alone=config.engine.strategy == "fsdp"), ExitStack() as held:
        if process().rank == 0:
            check_config(config)
            check_folder(out, resume=resume)
            held.enter_context(claimed(out))
            if RunFolder(out).status() == "done":
                told_by_first(None)
                return already_done(RunFolder(out), listener or Listener())
        told = told_by_first((config, out, resume, overrides))
        return _carry_out(*told, listener=listener or Listener()) if told else {}


def _carry_out(
    config: Config, out: Path, resume: bool, overrides: Sequence[str], *, listener: Listener
) -> dict[str, Any]:
    accelerator = open_accelerator(config)
    with together(accelerator.device):
        job = build_job(config)
    run = RunFolder.open(out, resume=resume) if process().rank == 0 else Follower(out)
    with run.recording(), tracked(config, run, listener) as heard:
        write_settings(run, job.config, overrides)
        trainer = Trainer(job, run, heard, accelerator)
        try:
            return trainer.run()
        finally:
            release(trainer.net)


class Trainer:
    """One run: its model, optimiser, position and folder."""

    def __init__(self, job: Job, run: RunFolder, listener: Listener, accelerator: Accelerator) -> None:
        self.job, self.run_folder, self.listener, self.accelerator = job, run, listener, accelerator
        self.config, self.model, self.device = job.config, job.model, accelerator.device
        if self.device.type == "cpu":
            keep_freed_memory()
        self.plan = stages(self.config.train)
        self.net = place_model(self.model, self.config, self.device)
        self.optimizer = accelerator.prepare_optimizer(build_optimizer(self.model, self.config.train))
        self.stage, self.entered = self.plan[0], False

    def run(self) -> dict[str, Any]:
        """The run, from its newest checkpoint to the finished folder."""
        begin = time.perf_counter()
        start = self.restore()
        self.listener.begun(start)
        before = sum(line["seconds"] for line in self.run_folder.lines(TIMINGS))
        if start == 0:
            self.run_folder.write_json("data.json", describe_data(self.job))
            for note in self.job.source.notes:
                self.listener.message(note)
            for warning in self.job.source.warnings:
                self.listener.message(f"warning: {warning}")
            self.validate(0)
        elif start == self.config.train.steps and not self.is_validated(start):
            self.validate(start)
            self.save(start)
        batches = load_batches(Steps(self.job, process()), start, self.device)
        with interruptible() as stop, profiled(self.config.engine, self.run_folder.path) as profiler:
            for step in range(start, self.config.train.steps):
                self.enter(stage_at(self.plan, step))
                self.record(step + 1, self.step(step, batches))
                profiler.step()
                stopping = anywhere(bool(stop), self.device)
                if step + 1 == self.config.train.steps:
                    self.save(step + 1)  # a failure of the evaluation loses nothing of a finished training
                if is_due(step + 1, self.config.train.eval_every, self.config.train.steps):
                    self.validate(step + 1)
                if is_due(step + 1, self.config.train.save_every, self.config.train.steps) or stopping:
                    self.save(step + 1)
                if stopping:
                    raise KeyboardInterrupt(f"stopped after step {step + 1}")
        return conclude(self.job, self.run_folder, self.listener, seconds=before + time.perf_counter() - begin)

    def enter(self, stage: Stage) -> None:
        """Let the stage's parts learn, with fresh moments; the alignment's own weights always do."""
        if self.entered and stage == self.stage:
            return
        self.stage, self.entered = stage, True
        self.run_folder.log(f"stage {stage.name}, steps {stage.first + 1} to {stage.end}, trains {stage.config.trains}")
        train_only(self.model.packed.llava, stage.config.trains)
        self.net = replicate(self.model.packed, self.config.engine)
        self.optimizer.state.clear()
        self.model.train()

    def step(self, step: int, batches: Iterator[list[PackedBatch]]) -> dict[str, Any]:
        """One optimiser step; its figures."""
        begin = time.perf_counter()
        with together(self.device):
            passes = next(batches)
        waited = time.perf_counter() - begin
        weight = alignment_weight(self.config.align, self.stage, step)
        with explained(self.config, step + 1, self.run_folder):
            out = self.learn(passes, weight, step)
            self.accelerator.unscale_gradients(self.optimizer)
            norm = clip(self.model.parameters(), self.config.train.clip)
            rate = learning_rate(self.config.train, self.stage, step)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            losses = step_losses(out, self.config.train.caption_weight, weight, self.accelerator.scaler)
            self.optimizer.step()
            self.optimizer.zero_grad()
        timing = {"step": step + 1, "seconds": time.perf_counter() - begin, "waiting_seconds": waited}
        self.run_folder.append(TIMINGS, {**timing, **solver_time(self.model.alignment)})
        return {"stage": self.stage.name, "lr": rate, "grad_norm": float(norm), **losses}

    def learn(self, passes: list[PackedBatch], weight: float, step: int) -> StepOutput:
        """Leave the gradient of the global batch's loss in every parameter, and return the losses."""
        read, noise = partial(self.read, step, passes), step_generator(self.config.seed, step)
        out = training_step(self.model, passes, weight, noise, read=read, scale=self.scale)
        average_gradients(self.model.alignment.parameters())
        return out

    def read(self, step: int, passes: list[PackedBatch], number: int, tokens: bool) -> PackedOutput:
        """One pass through the model; what is random in it is the same when it is read again."""
        reduce_gradients(self.net, number == len(passes) - 1)
        torch.manual_seed(seed_of(self.config.seed, step, process().rank, number))
        with self.accelerator.autocast():
            out = self.net(passes[number], tokens=tokens)
        torch.manual_seed(seed_of(self.config.seed, step))  # what follows is the same in every process
        return out

    def scale(self, loss: Tensor) -> Tensor:
        """The loss as fp16 needs it: so large that its gradients do not vanish."""
        return loss if self.accelerator.scaler is None else self.accelerator.scaler.scale(loss)

    def record(self, step: int, figures: dict[str, Any]) -> None:
        """Log a step's figures; a loss that is not a number ends the run."""
        if not math.isfinite(figures["loss"]) or not math.isfinite(figures["grad_norm"]):
            raise diverged(
                self.config, step, self.run_folder, f"loss {figures['loss']}, gradient {figures['grad_norm']}"
            )
        self.run_folder.append(METRICS, {"step": step, **figures})
        self.listener.step(step, self.config.train.steps, figures)

    def validate(self, step: int) -> None:
        """Exact answers and matching accuracy on validation records."""
        figures = validated(self.job, self.run_folder, step, self.device)
        self.run_folder.append(METRICS, {"step": step, "validation": figures})
        self.run_folder.log(f"validation after step {step}: {figures}")
        self.listener.validated(step, figures)
        solver_time(self.model.alignment)  # the next step's share begins at zero

    def is_validated(self, step: int) -> bool:
        """Whether the figures of a step's validation are written."""
        return any("validation" in line and line["step"] == step for line in self.run_folder.lines())

    def save(self, step: int) -> None:
        """A checkpoint from which the run continues as if nothing had happened."""
        tensors = self.model.state_dict() | named_state(self.optimizer, self.model)
        scaler = self.accelerator.scaler
        plain = {"scaler": scaler.state_dict() if scaler else None, "settings": self.config.model_dump(mode="json")}
        copies = self.run_folder.copies() if process().rank == 0 else None
        path = checkpoint.save_checkpoint(self.run_folder.path / "checkpoints", step, tensors, plain, copies=copies)
        self.run_folder.log(f"saved {path.name}")

    def restore(self) -> int:
        """Continue from the newest sound checkpoint, the run's files as they were then; the number of steps done."""
        weights, folder = self.model.state_dict(), self.run_folder.path / "checkpoints"
        found = checkpoint.load_checkpoint(
            folder, weights, belongs=partial(check_settings, self.config), message=self.say
        )
        if found is None:
            with together(self.device):
                self.run_folder.drop_lines()
            return 0
        plain, tensors = found
        step = int(plain["step"])
        with together(self.device):  # the others read these files when the first has put them back
            restore_files(self.run_folder, step, self.say)
        with together(self.device):
            check_data(self.job, self.run_folder)
        self.enter(stage_at(self.plan, step - 1))
        restore_state(self.optimizer, self.model, {k: x for k, x in tensors.items() if k not in weights})
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(plain["scaler"])
        self.say(f"resumed after step {step}")
        return step

    def say(self, text: str) -> None:
        """A sentence for whoever follows the run, and for its log."""
        self.run_folder.log(text)
        self.listener.message(text)

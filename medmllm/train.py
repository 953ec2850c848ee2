"""The trainer: read it top to bottom.

`train` makes the objects and the folder; `Trainer.run` is the whole loop. Everything a step needs is a function of
(configuration, seed, step): the batch, the noise of the matching, the learning rate. So a run that was killed and
resumed writes the same metrics and weights as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from medmllm import checkpoint
from medmllm.build import Job, build
from medmllm.config import Config
from medmllm.data.batches import Sampler, step_generator
from medmllm.data.packing import PackedBatch
from medmllm.errors import RunError
from medmllm.evaluate.evaluate import predict
from medmllm.evaluate.exam import spread
from medmllm.evaluate.matching import match_held_out
from medmllm.evaluate.metrics import exact_match
from medmllm.figures import step_losses
from medmllm.finish import MATCHING_AFTER, MATCHING_BEFORE, finish
from medmllm.interrupt import interruptible
from medmllm.listener import Listener
from medmllm.model.parts import train_only
from medmllm.objective import timer
from medmllm.optimizer import build_optimizer
from medmllm.plan import check
from medmllm.provenance import check_data, describe_data, environment
from medmllm.run_folder import METRICS, TIMINGS, RunFolder, check_folder
from medmllm.schedule import Stage, alignment_weight, learning_rate, stage_at, stages
from medmllm.settings import dump


def train(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    overrides: Sequence[str] = (),
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Trains, evaluates, and leaves a complete run folder.

    Args:
        config: every setting; saved as `config.yaml`, from which the run can be repeated.
        out: the run folder; must be new unless `resume`.
        resume: continue from the newest checkpoint, or from the beginning where there is none.
        overrides: what the caller typed, kept for the record.
        listener: hears of steps and validations.

    Returns:
        The summary, as in `summary.json`.

    Raises:
        UserError: configuration, data or run failed; the message says what to do. KeyboardInterrupt after a
            checkpoint was saved.
    """
    check(config)
    check_folder(out, resume=resume)
    if RunFolder(out).status() == "done":
        return RunFolder(out).read_json("summary.json")
    job = build(config)
    run = RunFolder.open(out, resume=resume)
    with run.recording():
        run.write_text("config.yaml", dump(config))
        if not (run.path / "overrides.txt").exists():
            run.write_text("overrides.txt", "".join(f"{line}\n" for line in overrides))
        run.set_status("running", name=config.name, seed=config.seed, steps=config.train.steps, error=None)
        run.write_json("environment.json", environment())
        return Trainer(job, run, listener or Listener()).run()


class Trainer:
    """One run: its model, optimiser, position and folder."""

    def __init__(self, job: Job, run: RunFolder, listener: Listener) -> None:
        self.job, self.run_folder, self.listener = job, run, listener
        self.config = job.config
        self.plan = stages(self.config.train)
        self.sampler = Sampler(len(job.records), self.config.train.batch_size, self.config.seed)
        self.accelerator = _accelerator(self.config)
        self.model, self.optimizer = self.accelerator.prepare(job.model, build_optimizer(job.model, self.config.train))
        self.stage = self.plan[0]
        self.entered: Stage | None = None
        self.held_out = spread(job.splits["validation"], self.config.eval.validation_limit)

    def run(self) -> dict[str, Any]:
        """The run, from its newest checkpoint to the finished folder."""
        begin = time.perf_counter()
        start = self.restore()
        before = sum(line["seconds"] for line in self.run_folder.lines(TIMINGS))
        if start == 0:
            self.run_folder.write_json("data.json", describe_data(self.job))
            self.validate(0)
        with interruptible() as stop:
            for step in range(start, self.config.train.steps):
                self.enter(stage_at(self.plan, step))
                self.record(step + 1, self.step(step))
                if self.due(step + 1, self.config.train.eval_every):
                    self.validate(step + 1)
                if self.due(step + 1, self.config.train.save_every) or stop:
                    self.save(step + 1)
                if stop:
                    raise KeyboardInterrupt(f"stopped after step {step + 1}")
        return finish(self.job, self.run_folder, self.listener, seconds=before + time.perf_counter() - begin)

    def enter(self, stage: Stage) -> None:
        """Lets the stage's parts learn, with fresh moments; the alignment's own weights always do."""
        if stage == self.entered:
            return
        self.stage = self.entered = stage
        self.run_folder.log(f"stage {stage.name}, steps {stage.first + 1} to {stage.end}, trains {stage.config.trains}")
        train_only(self.job.model.packed.llava, stage.config.trains)
        self.optimizer.state.clear()
        self.model.train()

    def step(self, step: int) -> dict[str, Any]:
        """One optimiser step; its figures."""
        begin = time.perf_counter()
        try:
            out = self.model(self.batch(step), step_generator(self.config.seed, step), weight=self.weight(step))
        except FloatingPointError as error:
            raise self.diverged(step + 1, str(error)) from error
        for view in out.views.values():
            view.retain_grad() if view.requires_grad else None
        self.accelerator.backward(out.loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.train.clip)
        rate = learning_rate(self.config.train, self.stage, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        losses = step_losses(out, self.config.train.caption_weight, self.weight(step), self.accelerator.scaler)
        figures = {"stage": self.stage.name, "lr": rate, "grad_norm": float(norm), **losses}
        self.run_folder.append(
            TIMINGS, {"step": step + 1, "seconds": time.perf_counter() - begin, **self.solver_time()}
        )
        return figures

    def weight(self, step: int) -> float:
        """alpha of a step, 0 where it aligns nothing."""
        return alignment_weight(self.config.align, self.stage, step)

    def batch(self, step: int) -> PackedBatch:
        """This process's part of a step's batch."""
        indices = self.sampler.indices(step)
        mine = indices[self.accelerator.process_index :: self.accelerator.num_processes]
        records = [self.job.records[i] for i in mine]
        captioning, texts = self.config.train.caption_weight > 0, self.job.model.texts if self.weight(step) > 0 else ()
        return self.job.reader.pack(records, captioning=captioning, texts=texts).to(self.accelerator.device)

    def record(self, step: int, figures: dict[str, Any]) -> None:
        """Logs a step's figures; a loss that is no number ends the run."""
        if not math.isfinite(figures["loss"]) or not math.isfinite(figures["grad_norm"]):
            raise self.diverged(step, f"loss {figures['loss']}, gradient norm {figures['grad_norm']}")
        self.run_folder.append(METRICS, {"step": step, **figures})
        self.listener.step(step, self.config.train.steps, figures)

    def diverged(self, step: int, what: str) -> RunError:
        """The error of a run whose figures are no longer numbers."""
        return RunError(
            f"Training diverged at step {step}, its figures are not finite: {what}.",
            where=str(self.run_folder.path / METRICS),
            hint=f"lower the learning rate, e.g. train.lr={self.config.train.lr / 3:.1g}",
        )

    def validate(self, step: int) -> None:
        """Exact answers and matching accuracy on validation records."""
        matching = match_held_out(self.job.model, self.job.reader, self.held_out, self.config.train.batch_size)
        if step in (0, self.config.train.steps):
            self.run_folder.write_json(MATCHING_AFTER if step else MATCHING_BEFORE, matching.to_dict())
        figures: dict[str, Any] = {"matching_accuracy": matching.accuracy, "matching_chance": matching.chance}
        if step:
            samples = predict(self.job.model.packed.llava, self.job.reader, self.held_out, self.config.eval)
            right = [exact_match(s.prediction, s.record.answer) for s in samples]
            figures |= {"accuracy": sum(right) / len(right), "n": len(right)}
        self.run_folder.append(METRICS, {"step": step, "validation": figures})
        self.run_folder.log(f"validation after step {step}: {figures}")
        self.listener.validated(step, figures)
        self.solver_time()  # the next step's share begins at zero

    def due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.config.train.steps

    def save(self, step: int) -> None:
        """A checkpoint from which the run goes on as if nothing had happened."""
        state = {
            "model": self.job.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "stage": self.stage.name,
            "rng": torch.get_rng_state(),
        }
        path = checkpoint.save(self.run_folder.path / "checkpoints", step, state)
        self.run_folder.log(f"saved {path.name}")

    def restore(self) -> int:
        """Takes up the newest checkpoint and drops what was logged after it; the number of steps done."""
        state = checkpoint.newest(self.run_folder.path / "checkpoints")
        if state is None:
            self.run_folder.rewind(-1)
            torch.manual_seed(self.config.seed)
            return 0
        check_data(self.job, self.run_folder)
        self.run_folder.rewind(state["step"])
        self.job.model.load_state_dict(state["model"])
        self.enter(stage_at(self.plan, state["step"] - 1))
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self.run_folder.log(f"resumed after step {state['step']}")
        self.listener.message(f"resumed after step {state['step']}")
        return state["step"]

    def solver_time(self) -> dict[str, float]:
        """Seconds spent in the solver since the last call, forward and backward."""
        solver = timer(self.job.model.alignment)
        if solver is None:
            return {"solver_seconds": 0.0}
        seconds, solver.seconds = solver.seconds, 0.0
        return {"solver_seconds": seconds}


def _accelerator(config: Config) -> Accelerator:
    AcceleratorState._reset_state(True)  # a second run in one process may want another precision
    precision = {"fp32": "no"}.get(config.train.precision, config.train.precision)
    return Accelerator(cpu=config.device == "cpu", mixed_precision=precision)

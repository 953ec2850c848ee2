"""transformers' Trainer with the mixin takes the step that our own arithmetic takes."""

import copy

import pytest
import torch
from transformers import Trainer, TrainingArguments

from medmllm.build import build_job
from medmllm.data.batches import step_generator
from medmllm.interop.trainer import GraphAligned, collate
from medmllm.model.parts import train_only


class Mine(GraphAligned, Trainer):
    """A user's program."""


def arguments(folder, **more):
    wanted = {"per_device_train_batch_size": 8, "max_steps": 1, "learning_rate": 0.1, "max_grad_norm": 0.0, "seed": 7}
    fixed = {"optim": "sgd", "lr_scheduler_type": "constant", "use_cpu": True, "save_strategy": "no", "report_to": []}
    return TrainingArguments(output_dir=folder, remove_unused_columns=False, disable_tqdm=True, **wanted | fixed | more)


@pytest.fixture
def job(tiny):
    made = build_job(tiny())
    train_only(made.model.packed.llava, ("vision", "projector", "language"))
    return made


def test_a_step_is_that_of_the_gradient_of_both_losses(job, tmp_path):
    records = list(job.records[:8])
    by_hand = copy.deepcopy(job.model).train()
    out = by_hand(job.reader.pack(records), step_generator(7, 0))
    assert out.alignment is not None
    out.loss.backward()
    trainer = Mine(
        model=job.model, args=arguments(tmp_path), train_dataset=records, data_collator=lambda some: pack(job, records)
    )
    trainer.train()
    moved = dict(job.model.named_parameters())
    for name, before in by_hand.named_parameters():
        expected = before.detach() if before.grad is None else before.detach() - 0.1 * before.grad
        torch.testing.assert_close(moved[name].detach(), expected, rtol=1e-5, atol=1e-6)
    aligned = [p.grad for n, p in by_hand.named_parameters() if n.startswith("alignment.") and p.grad is not None]
    assert any(float(gradient.abs().max()) > 0 for gradient in aligned)


def pack(job, records):
    """The batch in a known order; the Trainer shuffles."""
    return collate(job.reader)(records)


def test_the_loss_falls_with_plain_records(job, tmp_path):
    settings = {"max_steps": 12, "learning_rate": 0.01, "optim": "adamw_torch", "logging_steps": 1}
    trainer = Mine(
        model=job.model,
        args=arguments(tmp_path, **settings),
        train_dataset=list(job.records),
        data_collator=collate(job.reader),
    )
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_accumulation_is_refused(job, tmp_path):
    with pytest.raises(ValueError, match="cannot share a graph"):
        Mine(model=job.model, args=arguments(tmp_path, gradient_accumulation_steps=2))


def test_evaluation_tells_the_loss_and_draws_the_same_noise_again(job, tmp_path):
    some = list(job.records)
    trainer = Mine(
        model=job.model,
        args=arguments(tmp_path),
        train_dataset=some,
        eval_dataset=some[:8],
        data_collator=collate(job.reader),
    )
    first = trainer.evaluate()["eval_loss"]
    expected = job.model(job.reader.pack(some[:8]), step_generator(7, 0)).loss
    assert first == pytest.approx(float(expected.detach()))
    assert trainer.evaluate()["eval_loss"] == first


def test_processes_that_the_trainer_would_leave_apart_are_refused(job, tmp_path, monkeypatch):
    """What several processes meet when `evaluate` came before `train`: a model without its wrapper."""
    trainer = Mine(model=job.model, args=arguments(tmp_path), data_collator=collate(job.reader))
    monkeypatch.setattr("medmllm.interop.trainer.world_size", lambda: 2)
    with pytest.raises(RuntimeError, match=r"call train\(\) first"):
        trainer.compute_loss(job.model.train(), {"batch": job.reader.pack(job.records[:8])})

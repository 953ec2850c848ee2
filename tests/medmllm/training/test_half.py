"""fp16 with a gradient scaler: the alignment's gradient survives, which a rule of fixed size does not."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

import graphalign
from medmllm.build import build_job
from medmllm.distributed import process
from medmllm.run.callbacks import Listener
from medmllm.run.folder import Follower
from medmllm.training.loader import Steps
from medmllm.training.parallel import open_accelerator
from medmllm.training.trainer import Trainer

SCALE = 2.0**16


class Blackbox(torch.autograd.Function):
    """Backward gives the difference of two solutions over lambda, +-1/80, whatever the size of what comes in."""

    @staticmethod
    def forward(ctx, scores):
        matching = solve(scores)
        ctx.save_for_backward(scores, matching)
        return matching

    @staticmethod
    def backward(ctx, grad):
        scores, matching = ctx.saved_tensors
        return (matching - solve(scores - 80 * grad)) / 80


def solve(scores):
    return graphalign.build("solver", "hungarian")(graphalign.Problem(graphalign.NodeEdge(scores))).matching


def released(problem, *, generator=None):
    """The rule of a fixed size, as a differentiable solver."""
    return graphalign.Solution(graphalign.NodeEdge(Blackbox.apply(problem.scores.node)))


def gradients(tiny, tmp_path, monkeypatch, *, half, match=None):
    """Gradient of the alignment alone, per parameter, as the optimiser gets it."""
    stages = [{"name": "all", "share": 1, "trains": ["vision", "projector", "language"]}]
    config = tiny(train={"stages": stages, "batch_size": 16}, engine={"micro_batch": 8})
    trainer = Trainer(build_job(config), Follower(tmp_path), Listener(), open_accelerator(config))
    trainer.enter(trainer.plan[0])
    if match:
        trainer.model.alignment.match = match
    if half:
        trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
        passing = torch.autocast("cpu", torch.float16) if half else nullcontext()
        monkeypatch.setattr(trainer.accelerator, "autocast", lambda: passing)
    passes = [replace(b, labels=torch.full_like(b.labels, -100)) for b in Steps(trainer.job, process())[0]]
    trainer.learn(passes, 1.0, 0)
    if half:
        trainer.accelerator.scaler.unscale_(trainer.optimizer.optimizer)
    found = {name: p.grad.flatten() for name, p in trainer.model.named_parameters() if p.grad is not None}
    return torch.cat([found[name] for name in sorted(found)])


def distance(one, other):
    return float((one - other).norm() / other.norm())


@pytest.fixture
def pair(tiny, tmp_path, monkeypatch):
    def make(match=None):
        return [gradients(tiny, tmp_path, monkeypatch, half=half, match=match) for half in (True, False)]

    return make


def test_the_gradient_equals_that_of_float32_to_half_precision(pair):
    half, single = pair()
    assert bool(half.isfinite().all())
    assert single.norm() > 0
    assert distance(half, single) < 0.05


def test_a_rule_of_fixed_size_is_lost_under_the_scale(pair):
    """The same comparison fails for it: what remains is a share of 1/65536."""
    half, single = pair(released)
    assert single.norm() > 0
    assert distance(half, single) > 0.99

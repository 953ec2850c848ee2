"""Which loss aligns the views: from the names in a configuration to the object."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

import graphalign
from graphalign.losses.alignment import on_matchings
from medmllm.errors import ConfigError
from medmllm.model.hub import place
from medmllm.model.save import ALIGNMENT as FILE
from medmllm.model.stored import stored_file
from medmllm.settings.parts import ALIGNMENT
from medmllm.settings.schema import AlignConfig


@dataclass
class Timed:
    """A solver that adds up its own seconds; its facts (order, exactness) stay visible."""

    solver: Any
    seconds: float = field(default=0.0, compare=False)

    def __call__(self, problem: graphalign.Problem) -> graphalign.Solution:
        begin = time.perf_counter()
        solution = self.solver(problem)
        self.seconds += time.perf_counter() - begin
        return solution

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "solver":  # asked for by copying, before there is a solver
            raise AttributeError(name)
        return getattr(self.solver, name)


def by_estimator(config: AlignConfig) -> bool:
    """Whether the views get their gradient through a matching, by the estimator."""
    return config.loss == ALIGNMENT and on_matchings(config.criterion) is not None


def describe_alignment(config: AlignConfig) -> str:
    """The alignment in a few words."""
    if config.weight == 0:
        return "no alignment"
    if config.loss != ALIGNMENT:
        return config.loss
    return f"{config.solver} + {config.estimator if by_estimator(config) else config.criterion}"


def build_loss(config: AlignConfig, width: int, *, seed: int) -> Any:
    """The loss that the configuration names; its message passing is drawn from `seed` alone."""
    if config.loss != ALIGNMENT:
        return graphalign.build("loss", config.loss)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = _message_passing(config, width)
    return _alignment(config, encoder, barycenter=config.barycenter, **_matching(config))


def build_matcher(config: AlignConfig, loss: nn.Module) -> graphalign.AlignmentLoss:
    """The run's solver and graphs with the weights of its loss, but view straight to view, to evaluate with.

    A barycenter would hold the answer, and one rule for all losses makes their accuracies comparable.
    """
    match = graphalign.differentiable(graphalign.build("solver", config.solver), graphalign.Detached())
    return _alignment(config, getattr(loss, "encoder", None), barycenter="pairwise", match=match).eval()


def timer(loss: nn.Module) -> Timed | None:
    """What measures the solver of the loss, if it has one."""
    match = getattr(loss, "match", None)
    found = match if isinstance(match, Timed) else getattr(match, "solver", None)
    return found if isinstance(found, Timed) else None


def take_over(loss: nn.Module, source: str) -> None:
    """Start from the weights of the alignment that are saved beside a model, such as those of its message passing.

    Nothing is done where the model has none, or where this loss has no weights.

    Raises:
        ConfigError: both have weights, and these do not fit.
    """
    file, own = stored_file(place(source), FILE), loss.state_dict()
    given = {} if file is None else load_file(file)
    if not given or not own:
        return
    if {k: v.shape for k, v in given.items()} != {k: v.shape for k, v in own.items()}:
        raise ConfigError(
            f"the message passing of {source} has other weights ({', '.join(sorted(given))}) than what is requested",
            where="align",
            hint="align.from_source=false draws new weights; align.message_passing and align.layers can fit its own",
        )
    loss.load_state_dict(given)


def solver_time(loss: nn.Module) -> dict[str, float]:
    """Seconds spent in the solver since the last call, forward and backward."""
    solver = timer(loss)
    if solver is None:
        return {"solver_seconds": 0.0}
    seconds, solver.seconds = solver.seconds, 0.0
    return {"solver_seconds": seconds}


def _alignment(config: AlignConfig, encoder: nn.Module | None, **parts: Any) -> graphalign.AlignmentLoss:
    graph, affinity = graphalign.build("graph", config.graph), graphalign.build("affinity", config.affinity)
    return graphalign.AlignmentLoss(graph=graph, affinity=affinity, encoder=encoder, **parts)


def _matching(config: AlignConfig) -> dict[str, Any]:
    """What solves, and what is minimised."""
    solver = Timed(graphalign.build("solver", config.solver))
    if not by_estimator(config):
        return {"criterion": replace(graphalign.build("loss", config.criterion), solver=solver)}
    estimator = graphalign.build("estimator", config.estimator)
    return {"match": graphalign.differentiable(solver, estimator), "criterion": config.criterion}


def _message_passing(config: AlignConfig, width: int) -> nn.Module | None:
    if config.message_passing == "none":
        return None
    from graphalign.graphs.message_passing import MessagePassing

    return MessagePassing(width, conv=config.message_passing, layers=config.layers, residual=config.residual)

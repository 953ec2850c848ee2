"""The alignment loss: match every modality's graph with a barycenter, and count wrong pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..affinity import Cosine
from ..arguments import check_callable, check_finite, check_flag, shown, takes
from ..compatibility import order_of
from ..differentiation import differentiable
from ..estimators import IMLE
from ..graphs import KNN, ModalityGraph, PerModality
from ..metrics import matching_accuracy
from ..names import did_you_mean, plain
from ..problem import NodeEdge, Problem, Solution
from ..registry import broken_components, build, components
from ..solvers import Lap
from ..targets import correspondence
from .missing import Present, emptied, joined, rows_of
from .modalities import ModalityLoss, check_finite_rows, device_type, samples_there, vectors
from .on_matchings import cross_entropy, hamming
from .outputs import AlignmentOutput, Features, Masks
from .structured import Criterion, judge, judge_without_noise
from .unordered import Unordered

Match = Callable[..., Solution]
Solved = Callable[[Problem, Tensor], tuple[Tensor, Solution]]
Pair = tuple[int, int]
Barycenter = Literal["mean", "leave_one_out", "pairwise"]
#: Criteria on the matching that are functions, called as `criterion(matching, target)`; `on_matchings` knows all.
ON_MATCHINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"hamming": hamming, "cross_entropy": cross_entropy}


class AlignmentLoss(ModalityLoss):
    r"""Aligns two or more named modalities of the same samples by graph matching.

    Every modality is one graph whose nodes are the samples. With features $x^{(k)}$, graphs $G_k$, a barycenter graph
    $\bar G$ and the matching $\hat V(G, H)$ of two graphs:

    $$L = \frac{1}{2K} \sum_{k=1}^{K} \mathrm{Hamming}\bigl(\hat V(G_k, \bar G), I\bigr)
      + \mathrm{Hamming}\bigl(\hat V(\bar G, G_k), I\bigr)$$

    All $2K$ matchings (both directions) are solved in one call. Everything is computed in at least float32.

    Another `criterion` takes the place of the Hamming distance: `cross_entropy`, `mae` or `gce`, for relaxed matchings,
    of which the last two are bounded and meant for pairs of which some are wrong; or a loss that
    solves by itself and gives the scores a gradient without an estimator, such as `FenchelYoung()` or `SPOPlus()`. It
    brings its own solver, so `match` is left out, and `matchings` are what it solved: the mean over noise, or the
    matching of the scores that the loss moved. Samples of a group are interchangeable in the target of all of them:
    the mass of the group counts, or its best correct matching. The target alone knows of groups: a barycenter averages
    row by row, so that exchanging two samples of a group in one modality changes nothing where their features are equal
    in it, and else other barycenters.

    Cost: $2K$ problems of $n^2$ scores (pairwise: $K (K - 1)$) and what `match` takes for them in one batch.

    Args:
        match: A differentiable solver, called as `match(problem, generator=...)`; a second-order one gets edge scores.
            By default `differentiable(Lap(), IMLE())`. None with a criterion that solves by itself.
        graph: From features `(*b, n, d)` to a `ModalityGraph`; by default `KNN(k=5)`.
        encoder: A module called as `encoder(x, edge_index)`, with `edge_mask` besides for graphs with padded edges;
            it gives new features for the scores. `MessagePassing(d)` is shared by all graphs, `PerModality` has one
            for each modality. None for none.
        affinity: From two graphs to scores; by default `Cosine()`.
        barycenter: `leave_one_out`: each modality has a barycenter of its own, the mean of the others, sample by
            sample. `pairwise`: each modality with each other one. `mean`: the mean of all, as in the paper. It
            contains the modality that is matched with it, which makes the task easy and the gradient small: of two
            random modalities that share nothing, nearly all samples are then matched right.
        unmatched: Score of leaving a node alone (see `Problem`), or None.
        normalize: Whether features are scaled to unit length before the barycenter is taken, so that no modality
            outweighs the others in it; the paper does not.
        criterion: `hamming`, `cross_entropy`; an object called as `criterion(matching, target)` whose `on_matchings` is
            True, such as `MAE()`; one called as `criterion(problem, target, generator=...)` with a field `solver`, such
            as `FenchelYoung()`; or the spec of one, e.g. `"gce(q=0.5)"`.

    Attributes:
        reads_tokens: False: tokens are averaged first.

    Raises:
        ValueError: `match` is a bare solver, or is given beside a criterion that solves by itself; an argument is
            wrong. One whose matching has no gradient, such as `differentiable(Lap(), Detached())`, serves in
            `evaluate`, and is refused by the first call that wants one.

    Example:
        >>> import torch
        >>> views = {name: torch.randn(8, 16, requires_grad=True) for name in ("image", "answer", "caption")}
        >>> out = AlignmentLoss()(views, generator=torch.Generator().manual_seed(0))
        >>> sorted(out.matchings)[:2]
        ['answer->barycenter', 'barycenter->answer']

    References:
        "ExGra-Med: Extended Context Graph Alignment for Medical Vision-Language Models", NeurIPS 2025,
        arXiv 2410.02615, section 3.
    """

    def __init__(
        self,
        match: Match | None = None,
        *,
        graph: Callable[[Tensor], ModalityGraph] | None = None,
        encoder: nn.Module | None = None,
        affinity: Callable[..., NodeEdge] | None = None,
        barycenter: Barycenter = "leave_one_out",
        unmatched: float | None = None,
        normalize: bool = False,
        criterion: str | Criterion = "hamming",
    ) -> None:
        super().__init__()
        if barycenter not in ("mean", "leave_one_out", "pairwise"):
            raise ValueError(f"barycenter must be mean, leave_one_out or pairwise, not {barycenter!r}")
        self.criterion = _criterion(criterion)
        self.match = _match(match, self.criterion)
        self.graph = graph if graph is not None else KNN()
        self.affinity = affinity if affinity is not None else Cosine()
        self.encoder, self.barycenter = encoder, barycenter
        self.unmatched, self.normalize = unmatched, normalize
        self._check_arguments()

    def compute(
        self, features: Features, masks: Masks, groups: Tensor | None, generator: Generator | None
    ) -> AlignmentOutput:
        return self._align(self._solver(groups, generator), features, masks, groups, None)

    def compute_present(
        self, features: Features, masks: Masks, groups: Tensor | None, generator: Generator | None, here: Tensor
    ) -> AlignmentOutput:
        """Return the loss of a batch in which samples lack modalities.

        A barycenter averages, sample by sample, the modalities that are there. Modality and barycenter are matched on
        the samples that have the modality and another one; of `pairwise`, two modalities on the samples that have both.
        Graphs are built of these samples alone. The loss is the mean over the matchings; those of the same samples are
        solved in one call.
        """
        return self._align(self._solver(groups, generator), features, masks, groups, here)

    @torch.no_grad()
    def evaluate(
        self, features: Features, *, masks: Masks = None, groups: Tensor | None = None, present: Present = None
    ) -> AlignmentOutput:
        """Return the same figures from the solver alone: without noise and without gradient.

        Ties between pairs are not broken in favour of the right ones, which have the same number on both sides.

        The accuracy of a relaxed solver is the mass on correct pairs. Rounded to whole pairs, which a linear assignment
        of the plan finds, it is

            >>> import torch
            >>> from graphalign import Implicit, Lap, NodeEdge, Problem, Sinkhorn, differentiable, matching_accuracy
            >>> view = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
            >>> out = AlignmentLoss(differentiable(Sinkhorn(tau=0.3), Implicit())).evaluate({"a": view, "b": view})
            >>> plans = NodeEdge(torch.stack(list(out.matchings.values())))
            >>> whole = matching_accuracy(Lap()(Problem(plans)).matching).mean()
            >>> round(out.accuracy.item(), 2), whole.item()
            (0.55, 1.0)

        With `groups`, give them to `matching_accuracy` too; with `unmatched`, `Problem(plans, unmatched=0.25)` keeps
        the pairs that have more than half of their nodes' mass.
        """

        with torch.autocast(device_type(features), enabled=False):
            here = None if present is None else samples_there(features, groups, present)
            return self._align(self._solver_alone(groups), features, masks, groups, here)

    def _solver(self, groups: Tensor | None, generator: Generator | None) -> Solved:
        criterion = on_matchings(self.criterion)

        def solved(problem: Problem, target: Tensor) -> tuple[Tensor, Solution]:
            """Match with the estimator's gradient, and judge the matching."""
            if criterion is None:
                return judge(self.criterion, problem, target, generator, groups is not None)
            solution = self.match(problem, generator=generator)
            self._check_gradient(problem, solution)
            return criterion(solution.matching, target), solution

        return solved

    def _solver_alone(self, groups: Tensor | None) -> Solved:
        criterion = on_matchings(self.criterion)

        def solved(problem: Problem, target: Tensor) -> tuple[Tensor, Solution]:
            """Match without noise or gradient, and judge the matching."""
            if criterion is None:
                return judge_without_noise(self.criterion, problem, target, groups is not None)
            solution = Unordered(getattr(self.match, "solver", self.match))(problem)
            return criterion(solution.matching, target), solution

        return solved

    def _check_arguments(self) -> None:
        check_callable(self, "match", "differentiable(Lap(), IMLE())")
        check_callable(self, "graph", "KNN(k=5)")
        check_callable(self, "affinity", "Cosine()")
        check_callable(self, "encoder", "MessagePassing(64)")
        names = {"names": ""} if isinstance(self.encoder, PerModality) else {}
        if self.encoder is not None and not takes(
            getattr(self.encoder, "forward", self.encoder), "x", "edges", **names
        ):
            raise ValueError(
                f"AlignmentLoss: encoder must be called as encoder(x, edge_index), e.g. MessagePassing(64), and "
                f"{shown(self.encoder)} cannot be; what reads features alone belongs before the loss"
            )
        if self.unmatched is not None:
            check_finite(self, "unmatched")
        check_flag(self, "normalize")

    def _check_gradient(self, problem: Problem, solution: Solution) -> None:
        """Refuse a constant matching where the scores have a gradient; torch's own error would not say why."""
        if torch.is_grad_enabled() and problem.scores.node.requires_grad and not solution.matching.requires_grad:
            raise ValueError(
                f"AlignmentLoss: the matching of {shown(self.match)} has no gradient, so that it would train nothing: "
                f"give it another estimator, e.g. differentiable(Lap(), IMLE()); to measure only, call "
                f"loss.evaluate(features)"
            )

    def _align(
        self, solved: Solved, features: Features, masks: Masks, groups: Tensor | None, here: Tensor | None
    ) -> AlignmentOutput:
        names = list(features)
        x = vectors(features, masks) if here is None else vectors(*emptied(features, masks, here))
        correspondence(x.shape[1], groups, x)
        x = F.normalize(x, dim=-1) if self.normalize else x
        views, pairs = self._views(x, names, here)
        try:
            if here is None:
                return self._matched(solved, views, pairs, names, groups)
            parts = []
            for rows, some in _by_samples(pairs, self._usable(here)):
                out = self._matched(solved, views[:, rows], some, names, rows_of(groups, rows))
                parts.append((rows, len(some), out))
            return joined(parts, features, here)
        except ValueError:
            check_finite_rows(x, names)  # only now, as looking waits for a GPU
            raise

    def _matched(
        self, solved: Solved, views: Tensor, pairs: Mapping[str, Pair], names: list[str], groups: Tensor | None
    ) -> AlignmentOutput:
        """All matchings of the same samples, in one call of the solver."""
        used = sorted({number for pair in pairs.values() for number in pair})
        target = correspondence(views.shape[1], groups, views)
        labels = [names[number] if number < len(names) else "barycenter" for number in used]
        places = [(used.index(i), used.index(j)) for i, j in pairs.values()]
        losses, solution = solved(self._problem(views[used], places, labels), target)
        return _output(losses.mean(), solution, list(pairs), groups)

    def _views(self, x: Tensor, names: list[str], here: Tensor | None) -> tuple[Tensor, dict[str, Pair]]:
        """The features of every graph `(V, n, d)`, and name -> (first graph, second graph) of every matching."""
        count = len(names)
        if self.barycenter == "pairwise":
            return x, {f"{names[i]}->{names[j]}": (i, j) for i, j in permutations(range(count), 2)}
        there = torch.ones_like(x[..., :1]) if here is None else here[..., None].to(x)
        if self.barycenter == "mean":
            centers, place = x.sum(0, keepdim=True) / there.sum(0, keepdim=True).clamp_min(1), [count] * count
        else:
            others = (there.sum(0, keepdim=True) - there).clamp_min(1)
            centers, place = (x.sum(0, keepdim=True) - x) / others, list(range(count, 2 * count))
        to = {f"{name}->barycenter": (i, place[i]) for i, name in enumerate(names)}
        back = {f"barycenter->{name}": (place[i], i) for i, name in enumerate(names)}
        return torch.cat([x, centers]), to | back

    def _usable(self, here: Tensor) -> Tensor:
        """Which samples every graph has, bool `(V, n)`; a barycenter has those of two modalities or more."""
        if self.barycenter == "pairwise":
            return here
        shared = (here.sum(0, keepdim=True) > 1).expand(1 if self.barycenter == "mean" else len(here), -1)
        return torch.cat([here, shared])

    def _problem(self, views: Tensor, pairs: Sequence[Pair], labels: list[str]) -> Problem:
        graph = self.graph(views)
        if self.encoder is not None:
            graph = graph.with_nodes(self._encode(self.encoder, graph, labels))
        first, second = (graph[list(side)] for side in zip(*pairs, strict=True))
        scores = self.affinity(first, second, order=order_of(self.match))
        masks = {"edge_mask1": first.edge_mask, "edge_mask2": second.edge_mask}
        return Problem(scores, first.edge_index, second.edge_index, unmatched=self.unmatched, **masks)

    @staticmethod
    def _encode(encoder: nn.Module, graph: ModalityGraph, labels: list[str]) -> Tensor:
        """New features of all graphs: those of the modalities, then the barycenters."""
        options: dict[str, Any] = {} if graph.edge_mask is None else {"edge_mask": graph.edge_mask}
        if isinstance(encoder, PerModality):
            options["names"] = labels
        features: Tensor = encoder(graph.x, graph.edge_index, **options)
        return features


def _by_samples(pairs: Mapping[str, Pair], usable: Tensor) -> list[tuple[Tensor, dict[str, Pair]]]:
    """The matchings by the samples that both of their graphs have; none of no sample."""
    found: dict[tuple[int, ...], dict[str, Pair]] = {}
    for name, (i, j) in pairs.items():
        rows = tuple((usable[i] & usable[j]).nonzero()[:, 0].tolist())
        if rows:
            found.setdefault(rows, {})[name] = (i, j)
    return [(torch.tensor(rows, device=usable.device), some) for rows, some in found.items()]


def on_matchings(criterion: Any) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return what is called as `criterion(matching, target)`; None of a criterion that solves by itself.

    Args:
        criterion: An object, or a name or spec such as `"hamming"` or `"gce(q=0.5)"`.

    Raises:
        ValueError: The spec cannot be built.

    Example:
        >>> on_matchings("gce(q=0.5)"), on_matchings("fenchel_young")
        (GCE(q=0.5), None)
    """
    if isinstance(criterion, str):
        if criterion in ON_MATCHINGS:
            return ON_MATCHINGS[criterion]
        criterion = _built(criterion)
    return criterion if getattr(criterion, "on_matchings", False) else None


def _criterion(criterion: str | Criterion) -> str | Criterion:
    """The criterion by name, or as the object that it is or that its spec names."""
    if isinstance(criterion, str) and criterion not in ON_MATCHINGS:
        criterion = _built(criterion)
    if isinstance(criterion, str):
        return criterion
    known = hasattr(criterion, "solver") or getattr(criterion, "on_matchings", False)
    if isinstance(criterion, type | nn.Module) or not callable(criterion) or not known:
        raise ValueError(
            f"AlignmentLoss: criterion must be {', '.join(_criteria())}, or a loss of your own that solves by itself, "
            f"not {shown(criterion)}"
        )
    return criterion


def _built(spec: str) -> Any:
    """The loss of a spec whose name is that of any loss."""
    name = spec.partition("(")[0].strip()
    if plain(name) not in map(plain, [*components("loss"), *broken_components("loss")]):
        known = _criteria()
        raise ValueError(f"unknown criterion {spec!r}.{did_you_mean(name, known)} Known: {', '.join(known)}")
    return build("loss", spec)


def _criteria() -> list[str]:
    """The names that a criterion may have; losses over modalities are modules."""
    losses = components("loss").items()
    return [*ON_MATCHINGS, *(name for name, loss in losses if not issubclass(loss, nn.Module))]


def _match(match: Match | None, criterion: Any) -> Match:
    """What solves; for a criterion that solves by itself, its solver."""
    if on_matchings(criterion) is not None:
        return differentiable(Lap(), IMLE()) if match is None else _with_gradient(match)
    if match is not None:
        raise ValueError(
            f"AlignmentLoss: {criterion!r} solves by itself and needs no estimator; leave `match` out, and give the "
            f"solver to the criterion, e.g. {type(criterion).__name__}(solver=...)"
        )
    solver: Match = criterion.solver
    return solver


def _with_gradient(match: Match) -> Match:
    """The match, unless it is a solver that cannot be called as one."""
    if callable(match) and not isinstance(match, type) and not takes(match, "problem", generator=""):
        raise ValueError(
            f"AlignmentLoss: match must be a differentiable solver, called as match(problem, generator=...), and "
            f"{match!r} is a bare one, whose matching has no gradient: give it an estimator, e.g. "
            f"differentiable({match!r}, IMLE())"
        )
    return match


def _output(loss: Tensor, solution: Solution, names: list[str], groups: Tensor | None) -> AlignmentOutput:
    matchings = solution.matching.detach()
    return AlignmentOutput(
        loss=loss,
        matchings=dict(zip(names, matchings, strict=True)),
        accuracy=matching_accuracy(matchings, groups).mean(),
        unmatched=1 - matchings.sum(-1).mean(),
        converged=None if solution.converged is None else solution.converged.float().mean(),
        residual=None if solution.residual is None else solution.residual.max(),
    )

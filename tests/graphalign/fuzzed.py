"""Random problems of any finite scores and constraints, judged without the library: exact sums, and enumeration.

    python -m tests.graphalign.fuzzed run FIRST LAST
    python -m tests.graphalign.fuzzed enumerate FIRST LAST

The first solves the batches FIRST to LAST - 1 of ten problems each by every solver whose turn it is, the second single
problems of at most four nodes a side, whose best matching is enumerated; both print what came of it.
"""

import itertools
import json
import math
import sys
from collections import Counter
from fractions import Fraction
from functools import cache

import numpy as np
import torch

from graphalign import NodeEdge, Problem, build

BATCH = 10
ROUNDING = Fraction(1e-13)  # of the largest sum that a matching could have
TINY = Fraction(2.0**-1022) / ROUNDING  # below the normal numbers there are few digits
KINDS = ("normal", "scaled", "any size", "mixed sizes", "whole", "constant", "offset", "zeros", "tiny", "largest")
#: Solvers, and of how many batches each takes one: the slow ones take few.
TURNS = {
    "lap": 1, "lap(engine='lapx')": 1, "hungarian": 1, "greedy": 1, "auction": 8, "brute_force": 8, "sinkhorn": 8,
    "pygm_sinkhorn": 8, "sparse": 20, "faq": 20, "fgw": 20, "ipfp": 20, "sm": 40, "rrwm": 200,
}  # fmt: skip


@cache
def made(name):
    """The solver of a name."""
    return build("solver", name)


def draw(seed, *, batch=(BATCH,), order=1, kind=None, largest=6):
    """A problem with any mixture of masks, rectangles, forbidden pairs, seeds and scores of staying alone."""
    rng = np.random.default_rng(seed)
    kind = kind or KINDS[rng.integers(len(KINDS))]
    n, m = (int(x) for x in rng.integers(1, largest + 1, 2))
    dtype = (torch.float64, torch.float64, torch.float32, torch.bfloat16, torch.float16)[rng.integers(5)]
    node = _numbers(rng, (*batch, n, m), kind, dtype)
    options = {}
    if rng.random() < 0.3:
        options["mask1"] = torch.from_numpy(rng.random((*batch, n)) < 0.7)
        options["mask2"] = torch.from_numpy(rng.random((*batch, m)) < 0.7)
    if rng.random() < 0.4:
        options["forbidden"] = torch.from_numpy(rng.random((*batch, n, m)) < rng.choice([0.1, 0.3, 0.9]))
    if rng.random() < 0.4:
        sides = [_numbers(rng, (*batch, size), kind, torch.float64) for size in (n, m)]
        options["unmatched"] = (tuple(sides), float(sides[0].flatten()[0]))[rng.integers(2)]
    if rng.random() < 0.25:
        _fix_a_pair(rng, (n, m), options)
    if order == 1:
        return Problem(NodeEdge(node), **options)
    e, f = (int(x) for x in rng.integers(0, 8, 2))
    edges = [torch.from_numpy(rng.integers(0, size, (2, count))) for size, count in ((n, e), (m, f))]
    if rng.random() < 0.5:
        scores = NodeEdge(node, _numbers(rng, (*batch, e, f), kind, dtype))
    else:
        scores = NodeEdge(node, factors=tuple(_numbers(rng, (*batch, k, 2), kind, dtype) for k in (e, f)))
    if rng.random() < 0.3:
        options["edge_mask1"] = torch.from_numpy(rng.random((*batch, e)) < 0.7)
    return Problem(scores, *edges, **options)


def _fix_a_pair(rng, shape, options):
    i, a = (int(rng.integers(size)) for size in shape)
    for name, place in (("mask1", i), ("mask2", a)):
        if name in options:
            options[name][..., place] = True
    if "forbidden" in options:
        options["forbidden"][..., i, a] = False
    options["seeds"] = [(i, a)]


def _numbers(rng, shape, kind, dtype):
    """Finite numbers of the dtype."""
    top = torch.finfo(dtype).max
    normal = rng.standard_normal(shape)
    with np.errstate(over="ignore", under="ignore"):
        numbers = {
            "normal": lambda: normal,
            "scaled": lambda: normal * 10.0 ** rng.uniform(-4, 4),
            "any size": lambda: normal * 10.0 ** rng.uniform(-320, 308),
            "mixed sizes": lambda: np.sign(normal) * 10.0 ** rng.uniform(-320, 308, shape),
            "whole": lambda: rng.integers(-2, 3, shape).astype(float),
            "constant": lambda: np.full(shape, normal.flat[0] if normal.size else 0.0),
            "offset": lambda: normal + 10.0 ** rng.uniform(2, 15),
            "zeros": lambda: np.copysign(np.zeros(shape), normal),
            "tiny": lambda: normal * 5e-324 * 10,
            "largest": lambda: np.where(normal > 1, top, np.where(normal < -1, -top, normal)),
        }[kind]()
    return torch.from_numpy(np.clip(np.nan_to_num(numbers), -top, top)).to(dtype).clamp(-top, top)


def items(problem):
    """The problems of a batch as plain Python: everything in exact fractions."""
    batch, (n, m) = problem.batch_shape, problem.scores.node.shape[-2:]
    allowed = torch.ones(*batch, n, m, dtype=torch.bool)
    real = [torch.ones(*batch, k, dtype=torch.bool) if x is None else x.expand(*batch, k) for x, k in
            ((problem.mask1, n), (problem.mask2, m))]  # fmt: skip
    if problem.forbidden is not None:
        allowed = allowed & ~problem.forbidden
    allowed = allowed & real[0][..., :, None] & real[1][..., None, :]
    seeds = [] if problem.seeds is None else [tuple(pair) for pair in problem.seeds.tolist()]
    for at in itertools.product(*(range(size) for size in batch)):
        alone = None
        if problem.unmatched is not None:
            given = problem.unmatched if isinstance(problem.unmatched, tuple) else (problem.unmatched,) * 2
            sides = zip(given, (n, m), strict=True)
            alone = [x[at].tolist() if isinstance(x, torch.Tensor) else [x] * size for x, size in sides]
        yield Item(problem, at, allowed[at].tolist(), [x[at].tolist() for x in real], seeds, alone)


class Item:
    """One problem, whose objective is summed in fractions."""

    def __init__(self, problem, at, allowed, real, seeds, alone):
        self.allowed, self.real, self.seeds, self.alone = allowed, real, seeds, alone
        self.n, self.m = len(allowed), len(allowed[0])
        self.node = problem.scores.node[at].double().tolist()
        self.pairs = min(sum(real[0]), sum(real[1]))
        self.table = _edge_scores(problem, at, real) if problem.scores.has_edges else {}

    def parts(self, partner):
        """The parts of the objective of a matching, a partner or None for each row, in fractions."""
        parts = [Fraction(self.node[i][a]) for i, a in enumerate(partner) if a is not None]
        for (s, t), scores in self.table.items():
            if partner[s] is not None and partner[t] is not None:
                parts += scores.get((partner[s], partner[t]), [])
        if self.alone is not None:
            first, second = self.alone
            parts += [Fraction(first[i]) for i in range(self.n) if self.real[0][i] and partner[i] is None]
            parts += [Fraction(second[a]) for a in range(self.m) if self.real[1][a] and a not in partner]
        return parts

    def faults(self, partner):
        """The constraints that a matching breaks, in words."""
        made = [(i, a) for i, a in enumerate(partner) if a is not None]
        if len({a for _, a in made}) < len(made):
            yield "a column twice"
        if any(not self.allowed[i][a] for i, a in made):
            yield "a pair that is not allowed"
        if any(seed not in made for seed in self.seeds):
            yield "a seed is not made"
        if self.alone is None and len(made) != self.pairs:
            yield f"{len(made)} pairs of {self.pairs}"

    def matchings(self):
        """Every matching that the constraints allow."""
        fixed = dict(self.seeds)

        def grow(partner):
            i = len(partner)
            if i == self.n:
                if self.alone is not None or sum(a is not None for a in partner) == self.pairs:
                    yield partner
                return
            options = [fixed[i]] if i in fixed else [None, *(a for a in range(self.m) if a not in fixed.values())]
            for a in options:
                if a is None or (self.allowed[i][a] and a not in partner):
                    yield from grow([*partner, a])

        yield from grow([])

    def best(self):
        """The highest objective, or None where there is no matching."""
        return max((sum(self.parts(x), Fraction()) for x in self.matchings()), default=None)


def _edge_scores(problem, at, real):
    """From the ends of an edge of the first graph to those of edges of the second one and what these score."""
    scores, found = problem.scores, {}
    if scores.edge is not None:
        table = [[Fraction(x) for x in row] for row in scores.edge[at].double().tolist()]
    else:
        first, second = (x[at].double().tolist() for x in scores.factors)
        table = [[Fraction(x[0]) * Fraction(y[0]) + Fraction(x[1]) * Fraction(y[1]) for y in second] for x in first]
    kept = [True] * len(table) if problem.edge_mask1 is None else problem.edge_mask1[at].tolist()
    sources, targets = problem.edges1.tolist(), problem.edges2.tolist()
    for e, (s, t) in enumerate(zip(*sources, strict=True)):
        for f, (a, b) in enumerate(zip(*targets, strict=True)):
            if kept[e] and real[0][s] and real[0][t] and real[1][a] and real[1][b]:
                found.setdefault((s, t), {}).setdefault((a, b), []).append(table[e][f])
    return found


def optima(problem):
    """The objective of the best matching of each problem, by enumeration."""
    return [item.best() for item in items(problem)]


def judge(name, problem, solution, best=None):
    """Faults of a solution, as sentences; empty where it is right. `best` is what `optima` gives."""
    matching = solution.matching.detach()
    if matching.shape != problem.scores.node.shape or matching.dtype != problem.scores.node.dtype:
        return ["another shape or dtype than the scores"]
    if not bool(matching.isfinite().all()):
        return ["numbers that are not finite"]
    soft, exact = made(name).differentiable, made(name).exact
    shape = problem.batch_shape
    converged = [True] * shape.numel() if solution.converged is None else solution.converged.flatten().tolist()
    totals, bounds = (
        None if x is None else x.double().flatten().tolist() for x in (solution.objective, solution.bound)
    )
    # Beside numbers near the largest, those near the smallest lose digits: see `in_range`.
    tiny = TINY * 2**200 if _largest(problem) > 2.0**900 else TINY
    faults = []
    flat = matching.double().reshape(-1, *matching.shape[-2:])
    for number, (item, x) in enumerate(zip(items(problem), flat, strict=True)):
        if soft:
            faults += _faults_of_a_plan(item, x, converged[number])
            continue
        if not bool(((x == 0) | (x == 1)).all()) or bool((x.sum(1) > 1).any()):
            faults.append("entries or rows of something else than 0 and 1")
            continue
        partner = [row.index(1.0) if 1.0 in row else None for row in x.tolist()]
        faults += item.faults(partner)
        parts = item.parts(partner)
        total, size = sum(parts, Fraction()), sum(map(abs, parts), Fraction())
        scale = _scale(item, size) + tiny
        if totals is not None and not _near(totals[number], total, scale):
            faults.append(f"objective {totals[number]} of {_text(total)}")
        top = total if best is None else best[number]
        if exact and top - total > scale * ROUNDING:
            faults.append(f"{_text(total)} is not the optimum {_text(top)}")
        if bounds is not None:
            if not math.isfinite(bounds[number]) or Fraction(bounds[number]) < top - scale * ROUNDING:
                faults.append(f"bound {bounds[number]} below {_text(top)}")
            gap = solution.gap.flatten().tolist()[number]
            if not gap >= 0:
                faults.append(f"gap {gap}")
    return faults


def reached(problem, solution):
    """The objective of each matching of a batch."""
    matchings = solution.matching.double().reshape(-1, *solution.matching.shape[-2:]).tolist()
    partners = ([row.index(1.0) if 1.0 in row else None for row in x] for x in matchings)
    return [sum(item.parts(partner), Fraction()) for item, partner in zip(items(problem), partners, strict=True)]


def _text(total):
    try:
        return str(float(total))
    except OverflowError:
        return "more than float64 holds"


def _largest(problem):
    alone = problem.unmatched if isinstance(problem.unmatched, tuple) else (problem.unmatched or 0.0,)
    parts = [*problem.scores.tensors(), *(torch.as_tensor(x) for x in alone)]
    return max(float(x.double().abs().max()) for x in parts if x.numel())


def _scale(item, size):
    """The unit of rounding: the largest sum that any matching could have."""
    places = ((i, a) for i in range(item.n) for a in range(item.m) if item.allowed[i][a])
    entries = [abs(Fraction(item.node[i][a])) for i, a in places]
    entries += [abs(x) for scores in item.table.values() for parts in scores.values() for x in parts]
    entries += [abs(Fraction(x)) for side in item.alone or [] for x in side]
    return max(size, max(entries, default=Fraction()) * (item.n + item.m))


def _near(number, wanted, scale):
    return math.isfinite(number) and abs(Fraction(number) - wanted) <= scale * ROUNDING


def _faults_of_a_plan(item, x, converged):
    if bool((x < 0).any()):
        yield "an entry below 0"
    if any(x[i, a] != 0 and not item.allowed[i][a] for i in range(item.n) for a in range(item.m)):
        yield "a pair that is not allowed"
    if any(x[i, a] != 1 for i, a in item.seeds):
        yield "a seed is not made"
    if converged and (float(x.sum(0).max()) > 1.02 or float(x.sum(1).max()) > 1.02):
        yield "sums above 1"
    if converged and item.alone is None and abs(float(x.sum()) - item.pairs) > 0.02 * max(1, item.pairs):
        yield f"mass {float(x.sum())} of {item.pairs}"


def run(first, last):
    """Outcomes of the batches, and examples of what is wrong."""
    outcomes, wrong = Counter(), []
    for seed in range(first, last):
        best = None  # what `lap` reaches, for the other exact solvers of first order
        for name, turn in TURNS.items():
            if seed % turn:
                continue
            problem = draw(seed, order=made(name).order)
            solution, said = _tried(name, problem)
            exact = name.startswith(("lap", "hungarian"))
            faults = [said] if said and said[0] == "!" else []
            if solution is not None:
                faults = judge(name, problem, solution, best if exact else None)
                if exact and not faults:
                    best = best or reached(problem, solution)
            outcomes[f"{name}: {'wrong' if faults else said or 'right'}"] += 1
            wrong += [[seed, name, faults[0]]] if faults else []
    return {"problems": (last - first) * BATCH, "wrong": wrong, "outcomes": dict(outcomes.most_common())}


def enumerate_small(first, last):
    """The same of single small problems beside their best matching, or beside there being none."""
    outcomes, wrong = Counter(), []
    for seed in range(first, last):
        order, kind = (2 if seed % 5 == 0 else 1), ("normal", "whole", "constant", "scaled")[seed % 4]
        problem = draw(10**6 + seed, batch=(), order=order, largest=4, kind=kind)
        best = optima(problem)
        for name, turn in TURNS.items():
            if made(name).order < order or (turn > 20 and seed % turn):
                continue
            solution, said = _tried(name, problem)
            if solution is None:
                faults = [] if best == [None] and "finds no partner" in said else [said]
            else:
                faults = judge(name, problem, solution, best) if best != [None] else ["a matching where there is none"]
            outcomes[f"{name}: {'wrong' if faults else 'right' if solution is not None else 'refused'}"] += 1
            wrong += [[seed, name, faults[0]]] if faults else []
    return {"problems": last - first, "wrong": wrong, "outcomes": dict(outcomes.most_common())}


def _tried(name, problem):
    """The solution, or None and the beginning of what was said, marked unless it is a ValueError or TypeError."""
    try:
        return made(name)(problem), ""
    except (ValueError, TypeError) as error:
        return None, " ".join(str(error).split()[:12])
    except Exception as error:
        return None, f"!{error!r}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    what = {"run": run, "enumerate": enumerate_small}[sys.argv[1]]
    sys.stdout.write(json.dumps(what(int(sys.argv[2]), int(sys.argv[3]))))

"""Second-order matching of many nodes: `faq` among candidates beside `faq` among all pairs and node scores alone.

    python benchmarks/many_nodes.py --nodes 1000 --out benchmarks/results/many-nodes-cpu.json
    python benchmarks/many_nodes.py --nodes 10000 --out benchmarks/results/many-nodes-cpu.json

Points in the plane joined with their six nearest neighbours, and a shuffled copy; each side lacks a tenth of the edges,
and features of 16 numbers under noise that hides most of the true pairs from node scores. Each solver runs in a process
of its own, one thread; memory counts from after the imports and a tiny problem. A file that exists is added to.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

import graphalign as ga

WIDTH, NEIGHBOURS, KEPT, WEIGHT = 16, 6, 0.9, 0.5
ALL_PAIRS_UP_TO = 2000
SOLVERS = ("sparse(gap=1e-4)", "faq(candidates=16)", "faq(exchanges=0)", "faq")


def planted(nodes: int, noise: float) -> tuple[ga.Problem, torch.Tensor]:
    """A problem with the same weight on every edge, and the true column of each row."""
    random = np.random.default_rng(0)
    points = random.random((nodes, 2))
    near = cKDTree(points).query(points, NEIGHBOURS + 1)[1][:, 1:]
    edges = np.unique(np.sort(np.stack([np.repeat(np.arange(nodes), NEIGHBOURS), near.ravel()]), 0), axis=1)
    truth = random.permutation(nodes)
    sides = []
    for names in (np.arange(nodes), truth):
        kept = edges[:, random.random(edges.shape[1]) < KEPT]
        sides.append(torch.from_numpy(names[np.concatenate([kept, kept[::-1]], 1)]))
    x = random.standard_normal((nodes, WIDTH)).astype(np.float32)
    y = np.empty_like(x)
    y[truth] = x + noise * random.standard_normal(x.shape).astype(np.float32)
    weights = [torch.full((side.shape[1], 1), WEIGHT**0.5) for side in sides]
    scores = ga.Factors(torch.from_numpy(x), torch.from_numpy(y), factors=(weights[0], weights[1]))
    return ga.Problem(scores, *sides), torch.from_numpy(truth)


def solve(name: str, problem: ga.Problem) -> ga.Solution:
    solver, scores = ga.build("solver", name), problem.scores
    assert isinstance(scores, ga.Factors)
    return solver(ga.Problem(scores.without_edges()) if name.startswith("sparse") else problem)


def measure(name: str, nodes: int, noise: float) -> dict[str, object]:
    """One solver in this process."""
    torch.set_num_threads(1)
    solve(name, planted(50, noise)[0])
    problem, truth = planted(nodes, noise)
    before, began = memory(), time.process_time()
    solution = solve(name, problem)
    seconds, used = time.process_time() - began, memory() - before
    row, column = solution.pairs()
    ones = torch.ones(len(row), dtype=torch.float64)
    matching = torch.sparse_coo_tensor(torch.stack([row, column]), ones, (nodes, nodes), check_invariants=True)
    wide = problem.with_scores(problem.scores.to(torch.float64))
    return {
        "solver": name, "nodes": nodes, "noise": noise, "right": float((truth[row] == column).double().mean()),
        "objective": float(ga.objective(wide, wide.value(matching))), "cpu_s": round(seconds, 2),
        "memory_mb": round(used), "converged": bool(solution.converged),
    }  # fmt: skip


def memory() -> float:
    """The most memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--noise", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--solver", help="measure this one here, and print it")
    args = parser.parse_args()
    if args.solver:
        print(json.dumps(measure(args.solver, args.nodes, args.noise)))
        return
    command = [sys.executable, __file__, "--nodes", str(args.nodes), "--noise", str(args.noise), "--solver"]
    solvers = SOLVERS if args.nodes <= ALL_PAIRS_UP_TO else SOLVERS[:2]
    found = [json.loads(subprocess.run([*command, name], check=True, capture_output=True).stdout) for name in solvers]
    if args.out:
        known = json.loads(args.out.read_text()) if args.out.exists() else []
        args.out.write_text(json.dumps([*known, *found], indent=1) + "\n")
    for line in found:
        print(line)


if __name__ == "__main__":
    main()

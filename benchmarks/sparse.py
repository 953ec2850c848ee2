"""Large matchings: the solver `sparse` beside the dense `lap` of the same build, one thread, CPU seconds and memory.

    python benchmarks/sparse.py --rows 20000 --noise 1.0 --out benchmarks/results/sparse-cpu.json

    python benchmarks/sparse.py --rows 100000 --noise 1.0 --gap 1e-4 --part 10000

Points of a normal distribution in 64 dimensions and a noisy, shuffled copy; scores are cosines. Each solver runs in a
process of its own, whose memory counts from after the imports and a tiny problem. A file that exists is added to.
With `--part` the exact optimum of some of the rows and their true partners says where the planted pairs can be found.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

import graphalign as ga

WIDTH, DENSE_UP_TO = 64, 20_000


def points(rows: int, noise: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of both sides, and the true column of each row."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, WIDTH, generator=generator)
    order = torch.randperm(rows, generator=generator)
    return x, (x + noise * torch.randn(rows, WIDTH, generator=generator))[order], order.argsort()


def measure(solver: str, rows: int, noise: float) -> dict[str, object]:
    """One solver in this process."""
    torch.set_num_threads(1)
    build = ga.build("solver", solver)
    tiny, _, _ = points(50, 1.0)
    build(ga.Problem(ga.Factors(tiny, tiny)))
    x, y, truth = points(rows, noise)
    before, began = memory(), time.process_time()
    solution = build(ga.Problem(ga.Factors(x, y)))
    seconds, used = time.process_time() - began, memory() - before
    row, column = solution.pairs()
    right = float((truth[row] == column).double().mean())
    return {
        "solver": solver, "rows": rows, "width": WIDTH, "noise": noise, "cpu_s": round(seconds, 2),
        "memory_mb": round(used), "objective": float(ga.Factors(x.double(), y.double()).pairs(row, column).sum()),
        "bound": float(solution.bound), "gap": float(solution.gap), "right": right,
    }  # fmt: skip


def compare_part(rows: int, noise: float, gap: float, part: int) -> dict[str, object]:
    """Where the exact optimum of some rows and their partners finds the planted pairs, and where `sparse` of all does.

    The part has fewer rows to be taken for another, so it may find pairs that no matching of all rows holds.
    """
    torch.set_num_threads(1)
    x, y, truth = points(rows, noise)
    before, began = memory(), time.process_time()
    solution = ga.Sparse(gap=gap)(ga.Problem(ga.Factors(x, y)))
    seconds, used = time.process_time() - began, memory() - before
    column = torch.empty_like(truth).index_put(solution.pairs()[:1], solution.pairs()[1])
    planted = float(ga.Factors(x.double(), y.double()).pairs(torch.arange(rows), truth).sum())
    some = torch.randperm(rows, generator=torch.Generator().manual_seed(1))[:part]
    _, exact = ga.Lap()(ga.Problem(ga.NodeEdge(ga.Factors(x[some], y[truth[some]]).node))).pairs()
    by_part, by_all = exact == torch.arange(part), column[some] == truth[some]
    return {
        "solver": f"sparse(gap={gap:g})", "rows": rows, "width": WIDTH, "noise": noise, "cpu_s": round(seconds, 2),
        "memory_mb": round(used), "gap": float(solution.gap), "right": float((column == truth).double().mean()),
        "objective": float(solution.objective), "planted_objective": planted,
        "part": part, "found_by_part": int(by_part.sum()), "found_by_both": int((by_part & by_all).sum()),
        "found_by_all_only": int((by_all & ~by_part).sum()),
    }  # fmt: skip


def memory() -> float:
    """The most memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--noise", type=float, default=1.0)
    parser.add_argument("--gap", default="1e-5")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--solver", help="measure this one here, and print it")
    parser.add_argument("--part", type=int, help="compare with the exact optimum of so many rows")
    args = parser.parse_args()
    if args.part:
        add([compare_part(args.rows, args.noise, float(args.gap), args.part)], args.out)
        return
    if args.solver:
        print(json.dumps(measure(args.solver, args.rows, args.noise)))
        return
    solvers = [f"sparse(gap={args.gap})", *(["lap"] if args.rows <= DENSE_UP_TO else [])]
    command = [sys.executable, __file__, "--rows", str(args.rows), "--noise", str(args.noise), "--solver"]
    found = [
        json.loads(subprocess.run([*command, solver], check=True, capture_output=True).stdout) for solver in solvers
    ]
    add(found, args.out)


def add(found: list[dict[str, object]], out: Path | None) -> None:
    """Print what was found, and add it to a file."""
    known = json.loads(out.read_text()) if out and out.exists() else []
    if out:
        out.write_text(json.dumps([*known, *found], indent=1) + "\n")
    for line in found:
        print(line)


if __name__ == "__main__":
    main()

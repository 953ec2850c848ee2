"""Second order beside scipy: published quadratic assignment problems, dense regions, and a large sparse graph.

    python benchmarks/quadratic_assignment.py --instances FOLDER --out benchmarks/results/quadratic-assignment-cpu.json

FOLDER holds files of QAPLIB (`chr12c.dat`, ..., https://coral.ise.lehigh.edu/data-sets/qaplib/), which are not part of
this repository; the R package qap has all of them in its folder `inst/qaplib` (https://github.com/mhahsler/qap).
Instances whose optimum or best known value is listed here are solved. Two more cases are made up: a
brain atlas of 116 regions with noise (dense), and a graph of 1,004 nodes with 5 % more edges (sparse).

Times are processor seconds of one thread. Large cases have a process of their own each; memory is the kernel's
high-water mark (Linux) less what was resident before. On the small instances scipy takes random starts as long as the
time of `faq`'s default lasts, at least one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

import numpy as np

#: Optima, or best known values, as published by QAPLIB.
OPTIMA = {
    "bur26a": 5426670, "bur26b": 3817852, "bur26c": 5426795, "bur26d": 3821225, "bur26e": 5386879, "bur26f": 3782044,
    "bur26g": 10117172, "bur26h": 7098658, "chr12a": 9552, "chr12b": 9742, "chr12c": 11156, "chr15a": 9896,
    "chr15b": 7990, "chr15c": 9504, "chr18a": 11098, "chr18b": 1534, "chr20a": 2192, "chr20b": 2298, "chr20c": 14142,
    "chr22a": 6156, "chr22b": 6194, "chr25a": 3796, "els19": 17212548, "esc16a": 68, "esc16b": 292, "esc16c": 160,
    "esc16d": 16, "esc16e": 28, "esc16g": 26, "esc16h": 996, "esc16i": 14, "esc16j": 8, "esc32a": 130, "esc32b": 168,
    "esc32c": 642, "esc32d": 200, "esc32e": 2, "esc32g": 6, "esc32h": 438, "had12": 1652, "had14": 2724, "had16": 3720,
    "had18": 5358, "had20": 6922, "kra30a": 88900, "kra30b": 91420, "kra32": 88700, "lipa20a": 3683, "lipa20b": 27076,
    "lipa30a": 13178, "lipa30b": 151426, "nug12": 578, "nug14": 1014, "nug15": 1150, "nug16a": 1610, "nug16b": 1240,
    "nug17": 1732, "nug18": 1930, "nug20": 2570, "nug21": 2438, "nug22": 3596, "nug24": 3488, "nug25": 3744,
    "nug27": 5234, "nug28": 5166, "nug30": 6124, "rou12": 235528, "rou15": 354210, "rou20": 725522, "scr12": 31410,
    "scr15": 51140, "scr20": 110030, "ste36a": 9526, "ste36b": 15852, "ste36c": 8239110, "tai12a": 224416,
    "tai12b": 39464925, "tai15a": 388214, "tai15b": 51765268, "tai17a": 491812, "tai20a": 703482, "tai20b": 122455319,
    "tai25a": 1167256, "tai25b": 344355646, "tai30a": 1818146, "tai30b": 637117113, "tai35a": 2422002,
    "tai35b": 283315445, "tho30": 149936, "sko100a": 152002, "tai150b": 498896643,
}  # fmt: skip
LARGE = ("sko100a", "tai150b")
Matrix = np.ndarray


def instance(path: Path) -> tuple[Matrix, Matrix]:
    """The two matrices of a file of QAPLIB."""
    numbers = np.array(path.read_text(encoding="ascii").split(), dtype=np.float64)
    n = int(numbers[0])
    return numbers[1 : 1 + n * n].reshape(n, n), numbers[1 + n * n : 1 + 2 * n * n].reshape(n, n)


def regions() -> tuple[Matrix, Matrix, Matrix]:
    """Two dense symmetric matrices of 116 regions, the second with noise, and where each region went."""
    rng = np.random.default_rng(0)
    weights, noise = rng.random((116, 116)), 0.05 * rng.standard_normal((116, 116))
    first, order = weights + weights.T, rng.permutation(116)
    np.fill_diagonal(first, 0)
    second = first + noise + noise.T
    np.fill_diagonal(second, 0)
    return first, second[np.ix_(order, order)], order


def proteins() -> tuple[Matrix, Matrix, Matrix]:
    """A graph of 1,004 nodes whose degrees are spread as those of protein interactions, and one with 5 % more edges."""
    import networkx

    rng, graph = np.random.default_rng(0), networkx.barabasi_albert_graph(1004, 8, seed=0)
    first, order = networkx.to_numpy_array(graph), rng.permutation(1004)
    second, wanted = first.copy(), round(0.05 * graph.number_of_edges())
    while wanted:
        i, j = rng.integers(0, 1004, 2)
        if i != j and not second[i, j]:
            second[i, j] = second[j, i] = 1
            wanted -= 1
    return first, second[np.ix_(order, order)], order


def ours(spec: str) -> Callable[[Matrix, Matrix, float], Matrix]:
    import graphalign

    solver = graphalign.build("solver", spec)

    def solve(first: Matrix, second: Matrix, _: float) -> Matrix:
        columns: Matrix = graphalign.match(adjacency=(first, second), solver=solver).cols.numpy()
        return columns

    return solve


def scipy_faq(first: Matrix, second: Matrix, seconds: float) -> Matrix:
    """scipy's faq: from the barycenter, then from random starts as long as there is time; the best of all."""
    from scipy.optimize import quadratic_assignment

    rng, started, best = np.random.default_rng(0), time.process_time(), None
    while best is None or time.process_time() - started < seconds:
        options = {"maximize": True, "rng": rng} | ({} if best is None else {"P0": "randomized"})
        found = quadratic_assignment(first, second, options=options)
        if best is None or found.fun > best.fun:
            best = found
    columns: Matrix = best.col_ind
    return columns


def contender(name: str) -> Callable[[Matrix, Matrix, float], Matrix]:
    return scipy_faq if name == "scipy" else ours(name)


def resident(peak: bool) -> float:
    """Megabytes of this process, now or at most since the last reset."""
    wanted = "VmHWM" if peak else "VmRSS"
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    return int(lines[wanted].split()[0]) / 1024


def solved(name: str, case: str, folder: Path, seconds: float) -> dict[str, Any]:
    """One contender on one case, in this process, after a small call that imports and compiles."""
    solve = contender(name)
    small = np.ones((5, 5)) - np.eye(5)
    solve(small, small, 0.0)
    order, sign = None, 1.0
    if case in ("regions", "proteins"):
        first, second, order = {"regions": regions, "proteins": proteins}[case]()
    else:
        first, second = instance(folder / f"{case}.dat")
        sign = -1.0  # these are costs
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the high-water mark begins here
    before, started = resident(peak=False), time.process_time()
    columns = solve(sign * first, second, seconds)
    row = {"case": case, "contender": name, "seconds": time.process_time() - started}
    row["mb"] = resident(peak=True) - before
    row["objective"] = float((first * second[np.ix_(columns, columns)]).sum())
    if order is not None:
        row["right"] = float((order[columns] == np.arange(len(order))).mean())
    else:
        row["gap"] = 100 * (row["objective"] / OPTIMA[case] - 1)
    return row


def in_process(name: str, case: str, folder: Path, seconds: float = 0.0) -> dict[str, Any]:
    """The same in a process of its own."""
    call = [sys.executable, __file__, "--instances", str(folder), "--one", name, case, str(seconds)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def library(names: list[str], folder: Path, cases: list[str]) -> list[dict[str, Any]]:
    """All contenders on many small instances, in turns in one process; scipy gets the time of the first contender."""
    rows: list[dict[str, Any]] = []
    solvers = {name: contender(name) for name in names}
    for case in cases:
        first, second = instance(folder / f"{case}.dat")
        lasted = 0.0
        for name, solve in solvers.items():
            solve(-first, second, 0.0) if case == cases[0] else None
            started = time.process_time()
            columns = solve(-first, second, lasted)
            seconds = time.process_time() - started
            lasted = lasted or seconds
            cost = float((first * second[np.ix_(columns, columns)]).sum())
            rows.append({"case": case, "contender": name, "seconds": seconds, "gap": 100 * (cost / OPTIMA[case] - 1)})
    return rows


def summary(rows: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    """Mean and median gap and time of each contender, and on how many instances it is not worse than scipy."""
    gaps = {name: {row["case"]: row["gap"] for row in rows if row["contender"] == name} for name in names}
    lasted = {name: [row["seconds"] for row in rows if row["contender"] == name] for name in names}
    return [
        {
            "contender": name,
            "instances": len(own),
            "mean_gap": mean(own.values()),
            "median_gap": median(own.values()),
            "optimal": sum(gap <= 1e-9 for gap in own.values()),
            "not_worse_than_scipy": sum(own[case] <= gaps["scipy"][case] + 1e-9 for case in own),
            "mean_seconds": mean(lasted[name]),
        }
        for name, own in gaps.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=Path, required=True, help="folder with files of QAPLIB")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("CONTENDER", "CASE", "SECONDS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(solved(given.one[0], given.one[1], given.instances, float(given.one[2]))))
        return
    names = ["faq", "faq(restarts=1)", "faq(restarts=5)", "faq(exchanges=0)", "scipy"]
    found = sorted(path.stem for path in given.instances.glob("*.dat"))
    small = [case for case in found if case in OPTIMA and case not in LARGE]
    cases = [case for case in LARGE if case in found] + ["regions", "proteins"]
    rows = library(names, given.instances, small)
    document = {
        "instances": small,
        "missing": sorted(set(OPTIMA) - set(found)),
        "summary": summary(rows, names),
        "large": [in_process(name, case, given.instances) for case in cases for name in ("faq", "scipy")],
        "rows": rows,
    }
    for row in [*document["summary"], *document["large"]]:
        print(json.dumps(row))
    if given.out:
        given.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

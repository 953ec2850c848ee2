"""Exact assignment of small batches, 64 problems of 16 by 16: different batches in a row, and one again and again.

    python benchmarks/small_batches.py --out benchmarks/results/small-batches-cpu.json

From a float32 tensor of scores to a tensor, the check of the problem included, beside lapx's calls on a batch, lapjv in
a loop, scipy in a loop and pygmtools. One thread; the contenders take turns, and the least processor time counts.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from graphalign.bench.machine import THREADS, machine, versions

os.environ.update(dict.fromkeys(THREADS, "1"))  # before any library is loaded that reads it


def main() -> None:
    from graphalign.bench.linear import KINDS, REPEATED, linear_rows
    from graphalign.bench.rows import Plan
    from graphalign.bench.run import use_one_thread

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    use_one_thread()
    plan = Plan(quick=False, seed=0, say=lambda what: print(what, file=sys.stderr))
    rows = [row.to_dict() for kind in (*KINDS, REPEATED) for row in linear_rows(plan, 64, 16, kind)]
    for row in rows:
        print(json.dumps(row))
    if out:
        document = {"machine": machine(), "versions": versions(), "rows": rows}
        out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

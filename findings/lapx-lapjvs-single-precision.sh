#!/usr/bin/env bash
# lapx 0.11.1: lap.lapjvs solves in float32 unless it is called with prefer_float32=False, also where the costs are
# float64. Where costs differ after the seventh digit, its assignment is not the optimum, and nothing says so.
# lap.lapjv of the same package finds the optimum of the same costs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q lapx==0.11.1 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import lap
import numpy as np

print("lapx", lap.__version__)
random = np.random.default_rng(0)
costs = 1.0 + 1e-9 * random.integers(0, 1000, (40, 40))
rows = np.arange(40)


def excess(columns):
    return float((costs[rows, columns] - 1.0).sum() * 1e9)


exact = excess(lap.lapjv(costs)[1])
for name, options in (("default", {}), ("prefer_float32=False", {"prefer_float32": False})):
    columns = np.asarray(lap.lapjvs(costs, return_cost=False, **options)[1])
    print(f"lapjvs, {name}: excess {excess(columns):.0f} units of 1e-9; optimum {exact:.0f}")
    wrong = excess(columns) > exact + 0.5
    assert wrong == (not options), "the behaviour has changed"
PY

#!/usr/bin/env bash
# POT 0.9.7.post1: ot.solve(M, a, b, unbalanced=1.0, unbalanced_type="TV"), which its documentation shows as the way to partial
# transport, returns the product of the weights, a b^T, wherever the penalty outweighs the costs: nothing is optimised, and
# nothing says so.
# The solver is L-BFGS-B, which starts at a b^T; there both marginals fit exactly, the penalty has a kink, and the first line
# search finds no descent. Even the plan of balanced transport, which pays no penalty at all, costs less than half as much.
# What helps: ot.partial.partial_wasserstein_lagrange, with twice the penalty, solves this problem exactly.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q POT==0.9.7.post1 numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/python" - <<'PY'
import warnings

import numpy as np
import ot

print("POT", ot.__version__)
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "scipy.optimize: The `disp`")  # of the option's name alone
even = np.full(8, 1 / 8)
product = np.outer(even, even)


def objective(plan, costs, weight):
    return (costs * plan).sum() + weight * (abs(plan.sum(1) - even).sum() + abs(plan.sum(0) - even).sum())


same = []
for seed in range(3):
    costs = np.random.default_rng(seed).random((8, 8))
    for weight in (0.3, 1.0, 5.0):
        found = ot.solve(costs, even, even, unbalanced=weight, unbalanced_type="TV")
        balanced = objective(ot.emd(even, even, costs), costs, weight)
        exact = objective(ot.partial.partial_wasserstein_lagrange(even, even, costs, reg_m=2 * weight), costs, weight)
        print(f"costs {seed}, penalty {weight:g}: objective {objective(found.plan, costs, weight):.3f}, of the balanced plan "
              f"{balanced:.3f}, optimum {exact:.3f}; largest difference from a b^T {abs(found.plan - product).max():.0e}")
        same.append(abs(found.plan - product).max() < 1e-12 and balanced < objective(found.plan, costs, weight) / 2)
assert all(same), "the behaviour has changed"
PY

#!/usr/bin/env bash
# POT 0.9.7.post1: for entropic unbalanced transport, ot.solve(M, a, b, reg=..., unbalanced=...), the result's `value` is 0,
# whatever the costs are. `value` is documented as the optimum of the problem, whose penalties are Kullback-Leibler
# divergences of unnormalised masses. The solver leaves out the terms of mass (ot.unbalanced adds them in its other solvers),
# and what remains of the objective is zero at every optimum. `value_linear` and the plan are right.
# Whoever trains or compares with `value`, which is 0.25 here, has a constant. The same of
# ot.unbalanced.sinkhorn_unbalanced2(..., returnCost="total").
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q POT==0.9.7.post1 numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/python" -W error - <<'PY'
import warnings

import numpy as np
import ot

warnings.filterwarnings("ignore", "scipy.optimize: The `disp`")  # POT passes an option that SciPy will drop
print("POT", ot.__version__)
even = np.full(8, 1 / 8)


def divergence(p, q):
    return (p * np.log(p / q) - p + q).sum()


zero = []
for seed, scale in ((0, 1.0), (1, 1.0), (0, 3.0)):
    costs = scale * np.random.default_rng(seed).random((8, 8))
    found = ot.solve(costs, even, even, reg=0.1, unbalanced=1.0)
    plan = found.plan
    marginals = divergence(plan.sum(1), even) + divergence(plan.sum(0), even)
    objective = (costs * plan).sum() + 0.1 * divergence(plan, np.outer(even, even)) + 1.0 * marginals
    other = ot.unbalanced.lbfgsb_unbalanced2(even, even, costs, 0.1, 1.0, returnCost="total")
    print(f"costs {seed}, times {scale:g}: value {found.value:.1e}, linear part {found.value_linear:.3f}; "
          f"the objective of its plan is {objective:.3f}, POT's L-BFGS-B finds {other:.3f}")
    assert abs(objective - other) < 1e-3 < objective, "the plan is not the optimum any more"
    zero.append(abs(found.value) < 1e-6)
assert all(zero), "the behaviour has changed"
PY

#!/usr/bin/env bash
# POT 0.9.7.post1: ot.emd returns a plan of zeros where every cost lies far below zero, though such costs are valid (a
# constant added to all costs changes no optimal plan). It warns, and log["result_code"] is not 1, but the call returns.
# Whoever passes affinities as negative costs, as fused Gromov-Wasserstein does, gets no transport at all.
# What helps: subtract the least cost first, and check result_code.
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
random = np.random.default_rng(0)
costs, even = random.random((6, 6)), np.full(6, 1 / 6)
sums = {}
for shift in (0.0, -1e3):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        plan, log = ot.emd(even, even, costs + shift, log=True)
    sums[shift] = plan.sum()
    print(f"costs shifted by {shift:g}: plan sums to {plan.sum():.3f}, result code {log['result_code']}, {len(heard)} warnings")
assert abs(sums[0.0] - 1) < 1e-9 and sums[-1e3] == 0, "the behaviour has changed"
PY

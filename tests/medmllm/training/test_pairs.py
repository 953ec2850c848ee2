"""Every solver with every estimator: it trains with a gradient, or a sentence says before anything loads why not."""

import json
import math

import pytest

import graphalign
from medmllm.errors import ConfigError
from medmllm.planning.plan import check_config
from medmllm.training.trainer import train

SOLVERS = sorted(graphalign.components("solver"))
ESTIMATORS = sorted(graphalign.components("estimator"))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_trains_or_is_refused(tiny, tmp_path, solver, estimator):
    config = tiny(
        align={"solver": solver, "estimator": estimator}, train={"steps": 5, "save_every": 5, "eval_every": 5}
    )
    try:
        check_config(config)
    except ConfigError as refusal:
        fitting = [name for name in SOLVERS if name in refusal.message] + [
            e for e in ESTIMATORS if e in refusal.message
        ]
        assert len(fitting) > 1
        assert not (tmp_path / "run").exists()
        return
    train(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    norms = [line["grad_norm_align"] for line in lines if "grad_norm_align" in line]
    assert norms
    assert all(math.isfinite(norm) and norm > 0 for norm in norms)


def test_unrolled_hungarian_is_refused(tiny):
    with pytest.raises(ConfigError, match="sinkhorn"):
        check_config(tiny(align={"solver": "hungarian", "estimator": "unrolled"}))


def test_brute_force_is_refused_for_a_large_graph(tiny):
    with pytest.raises(ConfigError, match="at most"):
        check_config(tiny(align={"solver": "brute_force"}, train={"batch_size": 32}))

"""The scripts of the tutorials show what their pages say."""

import importlib.util
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parents[1] / "docs" / "tutorials"


def load(name):
    spec = importlib.util.spec_from_file_location(name, TUTORIALS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_noise_and_leaving_the_own_view_out_help():
    train = load("noise_and_barycenter").train
    found = {arm: train(*arm, steps=150, seed=0) for arm in [("mean", 0.05), ("mean", 0.2), ("leave_one_out", 0.05)]}
    assert found["mean", 0.05] + 0.1 < found["mean", 0.2]
    assert found["mean", 0.05] + 0.1 < found["leave_one_out", 0.05]


@pytest.mark.slow
def test_the_table_of_noise_and_barycenter():
    tutorial = load("noise_and_barycenter")
    found = {arm: sum(tutorial.train(*arm, steps=600, seed=seed) for seed in range(3)) / 3 for arm in tutorial.ARMS}
    assert found["mean", 0.05] + 0.1 < found["mean", 0.2] < found["leave_one_out", 0.2]
    assert found["leave_one_out", 0.05] + 0.1 < found["leave_one_out", 0.2]
    assert found["mean", 0.05] + 0.1 < found["leave_one_out", 0.05]


def test_estimates_of_a_gradient_are_as_drawn():
    tutorial = load("seen_gradients")
    exact, imle, perturbed = (*tutorial.ESTIMATORS[0:1], *tutorial.ESTIMATORS[3:])
    assert tutorial.zero_share(exact) == 0 < tutorial.zero_share(imle) < tutorial.zero_share("blackbox(lam=0.5)")
    for name in (imle, perturbed):
        mean, single = tutorial.agreement(name, draws=30)
        assert mean > 0.9 > single
    points = tutorial.grid(steps=3)
    field = tutorial.estimated_gradient(exact, points)
    assert (field - field[0, 0]).abs().max() < 1e-6  # straight-through reads no scores


def test_the_expected_loss_of_the_drawing_is_that_of_the_noise():
    import torch

    import graphalign as ga

    tutorial, point = load("seen_gradients"), torch.tensor([0.2, -0.1])
    scores = ga.NodeEdge((point @ tutorial.PLANE)[None])
    noisy = ga.Gumbel(tutorial.SCALE).sample(scores, 20_000, torch.Generator().manual_seed(0)).node + scores.node
    mean = tutorial.COSTS[noisy[:, 0].argmax(-1)].mean()
    assert abs(float(mean - tutorial.expected_loss(point))) < 0.02


def test_distances_match_what_positions_cannot_and_pygmtools_agrees():
    tutorial = load("keypoints")
    found = {method: tutorial.accuracy(method, 0.02, scenes=3)[0] for method in tutorial.METHODS}
    assert found["lap, positions"] < 0.6
    assert min(found["faq"], found["rrwm"], found["pygmtools' rrwm"]) > 0.8


def test_code_finds_its_docstring_in_modules_never_seen():
    tutorial = load("code_and_text")
    training, test = tutorial.data()
    first, ten = tutorial.found(tutorial.train(tutorial.LOSSES["alignment"](), training, steps=40, seed=0), test)
    untrained, _ = tutorial.found(tutorial.train(tutorial.LOSSES["alignment"](), training, steps=0, seed=0), test)
    assert ten > 3 * 10 / tutorial.TEST
    assert first > untrained


def test_code_of_the_tutorial_holds_no_docstring():
    tutorial = load("code_and_text")
    module, code, text = next(iter(tutorial.functions()))
    assert module
    assert text.split("\n")[0] not in code


@pytest.mark.slow
def test_the_tables_of_the_tutorials():
    seen, code = load("seen_gradients"), load("code_and_text")
    arrive = [seen.arrivals(name) for name in seen.ESTIMATORS]
    assert arrive[0] == 1 > arrive[2] > 2 * arrive[1]
    assert arrive[3] > 2 * arrive[1]
    training, test = code.data()
    for make in code.LOSSES.values():
        first, ten = code.found(code.train(make(), training, steps=600, seed=0), test)
        assert first > 10 / code.TEST
        assert ten > 4 * 10 / code.TEST

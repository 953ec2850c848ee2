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

"""The worked examples of the metrics run."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "evaluate.sign_flips",
        "text.answers",
        "evaluate.published",
        "evaluate.strict",
        "evaluate.choice",
        "evaluate.judge",
        "evaluate.bootstrap",
    ],
)
def test_examples_run(name):
    done = doctest.testmod(importlib.import_module(f"medmllm.{name}"), optionflags=doctest.ELLIPSIS)
    assert done.attempted
    assert done.failed == 0

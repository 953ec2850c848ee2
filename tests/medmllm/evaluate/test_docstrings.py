"""The worked examples of the metrics run."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["metrics", "published", "strict", "choice", "judge", "bootstrap"])
def test_examples_run(name):
    done = doctest.testmod(importlib.import_module(f"medmllm.evaluate.{name}"), optionflags=doctest.ELLIPSIS)
    assert done.attempted
    assert done.failed == 0

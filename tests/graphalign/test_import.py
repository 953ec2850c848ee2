"""`import graphalign` needs the base dependencies only, and loads the heavy ones of them at first use."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import graphalign

MODULES = [m.name for m in pkgutil.walk_packages(graphalign.__path__, "graphalign.")]
HEAVY = ["torch_geometric", "pygmtools", "lap", "scipy"]
FORBIDDEN = ["medmllm", "exgra", "transformers", "peft", "accelerate", "typer", "rich", "matplotlib", "pydantic"]


def test_importing_is_light():
    modules = ["graphalign", "graphalign.testing", "graphalign.distributed"]
    code = f"import sys, {', '.join(modules)}; print(sorted(set({HEAVY + FORBIDDEN!r}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["graphalign", *MODULES])
def test_examples_print_what_they_show(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    examples = [
        e for name in ["graphalign", *MODULES] for t in finder.find(importlib.import_module(name)) for e in t.examples
    ]
    assert len(examples) > 20


def test_every_public_name_is_there_and_documented():
    for name in graphalign.__all__:
        component = getattr(graphalign, name)
        assert name == "__version__" or component.__doc__


def test_message_passing_passes_on_no_warning_of_its_library():
    """PyTorch Geometric calls torch.jit.script when it is imported, which torch 2.14 reports to every user."""
    code = "import graphalign as ga, torch; ga.MessagePassing(2)(torch.ones(1, 2), torch.zeros(2, 1, dtype=torch.long))"
    refused = ["-W", "error:`torch.jit.script` is deprecated"]
    done = subprocess.run([sys.executable, *refused, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

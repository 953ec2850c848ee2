"""Every public name is in the reference, says what it computes, and shows it by an example that runs."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

from graphalign.registry import KINDS, components

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "graphalign.md"
# Packages and modules all of whose own public names are for everybody.
PUBLIC = ["", "affinity", "distributed", "estimators", "graphs", "losses", "metrics", "problem", "registry", "solvers"]
PUBLIC += ["testing"]


def named(name):
    """The object that a dotted name of the reference means."""
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


DESCRIBED = {name: named(name) for name in re.findall(r"^::: (\S+)$", PAGE.read_text("utf-8"), re.MULTILINE)}
COMPONENTS = {
    f"{kind} {name}": component
    for kind in KINDS
    for name, component in components(kind).items()
    if component.__module__.startswith("graphalign.")
}
CALLED = {name: thing for name, thing in DESCRIBED.items() if callable(thing)}
PROTOCOLS = {name for name, thing in CALLED.items() if getattr(thing, "_is_protocol", False)}


def members(thing):
    """The public methods and properties that a class defines itself, as functions."""
    for name, member in vars(thing).items() if inspect.isclass(thing) else ():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        public = name in ("__call__", "__getitem__") or not name.startswith("_")
        if inspect.isfunction(function) and public and name != "extra_repr":
            yield name, function


def argued(thing):
    """The arguments that the docstring explains, and those that there are."""
    explained = set(re.findall(r"^ +(\w+):", inspect.getdoc(thing) or "", re.MULTILINE))
    taken = inspect.signature(thing).parameters.values()
    return explained, {one.name for one in taken if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}


@pytest.mark.parametrize("name", sorted(DESCRIBED))
def test_a_public_name_has_an_example_that_runs(name):
    thing = DESCRIBED[name]
    finder, runner = (
        doctest.DocTestFinder(recurse=False),
        doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE),
    )
    parts = [thing, *(function for _, function in members(thing))]
    found = [test for part in parts for test in finder.find(part, name) if test.examples]
    assert found, f"{name} shows no example"
    for test in found:
        assert runner.run(test).failed == 0


@pytest.mark.parametrize("package", PUBLIC)
def test_what_a_package_offers_is_in_the_reference(package):
    module = importlib.import_module(f"graphalign.{package}".rstrip("."))
    names = getattr(module, "__all__", None) or [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", "") == module.__name__
    ]
    offered = {name: getattr(module, name) for name in names if callable(getattr(module, name))}
    assert offered
    described = {id(thing) for thing in DESCRIBED.values()}
    assert [name for name, thing in offered.items() if id(thing) not in described] == []


def test_every_component_is_in_the_reference():
    assert {id(x) for x in COMPONENTS.values()} <= {id(x) for x in DESCRIBED.values()}


@pytest.mark.parametrize("name", sorted(name for name, thing in CALLED.items() if inspect.isclass(thing)))
def test_every_member_of_a_class_says_what_it_does(name):
    assert [member for member, function in members(CALLED[name]) if not inspect.getdoc(function)] == []


@pytest.mark.parametrize("name", sorted(CALLED.keys() - PROTOCOLS))
def test_every_argument_is_explained(name):
    explained, taken = argued(CALLED[name])
    assert taken <= explained


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_a_component_says_its_cost_and_its_errors(name):
    """A component whose arguments can be wrong says how; functions of two matrices raise what torch does."""
    component = COMPONENTS[name]
    text = inspect.getdoc(component)
    assert "Cost:" in text, f"{name} does not say what it costs"
    if inspect.isclass(component) and inspect.signature(component).parameters:
        assert "Raises:" in text, f"{name} does not say which arguments it refuses"

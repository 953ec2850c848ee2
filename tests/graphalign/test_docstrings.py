"""Every public name says what it computes, and shows it by an example that runs."""

import doctest
import inspect

import pytest

import graphalign
from graphalign import distributed, testing
from graphalign.registry import KINDS, components

PUBLIC = {name: getattr(graphalign, name) for name in graphalign.__all__ if name != "__version__"}
PUBLIC |= {f"testing.{name}": getattr(testing, name) for name in ("Check", "solver_checks", "estimator_checks")}
PUBLIC |= {"distributed.gather": distributed.gather}
COMPONENTS = {
    f"{kind} {name}": component
    for kind in KINDS
    for name, component in components(kind).items()
    if component.__module__.startswith("graphalign.")
}
# Protocols and values without behaviour of their own: the classes that use them show them.
WITHOUT_EXAMPLE = {"Estimator", "Solver"}


@pytest.mark.parametrize("name", sorted({*PUBLIC, *COMPONENTS} - WITHOUT_EXAMPLE))
def test_a_public_name_has_an_example_that_runs(name):
    thing = {**PUBLIC, **COMPONENTS}[name]
    own = [x for x in vars(thing).values() if inspect.isfunction(x)] if inspect.isclass(thing) else []
    parts = [thing, *own]
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    found = [test for part in parts for test in finder.find(part, name) if test.examples]
    assert found, f"{name} shows no example"
    for test in found:
        assert runner.run(test).failed == 0


def test_every_component_is_public():
    assert {id(x) for x in COMPONENTS.values()} <= {id(x) for x in PUBLIC.values()}


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_a_component_says_its_cost_and_its_errors(name):
    """A component whose arguments can be wrong says how; functions of two matrices raise what torch does."""
    component = COMPONENTS[name]
    text = inspect.getdoc(component)
    assert "Cost:" in text, f"{name} does not say what it costs"
    if inspect.isclass(component) and inspect.signature(component).parameters:
        assert "Raises:" in text, f"{name} does not say which arguments it refuses"

"""Every name in the reference of medmllm exists, says what it does, and is shown by a program that runs."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import medmllm

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "medmllm.md").read_text("utf-8")
# The programs of the page, which tests/test_docs.py runs.
PROGRAMS = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def named(name):
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


DESCRIBED = {name: named(name) for name in re.findall(r"^::: (\S+)$", PAGE, re.MULTILINE)}


def members(thing):
    """The public functions of a module, or methods and properties of a class, that it defines itself."""
    for name, member in vars(thing).items():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        own = not inspect.ismodule(thing) or getattr(function, "__module__", "") == thing.__name__
        if own and not name.startswith("_") and (inspect.isfunction(function) or inspect.isclass(function)):
            yield name, function


def test_the_reference_holds_what_programs_of_the_pages_import():
    pages = [*Path(__file__).resolve().parents[2].glob("docs/**/*.md")]
    imports = re.compile(r"^from (medmllm[\w.]*) import (.+)$", re.MULTILINE)
    shown = {
        f"{module}.{name.strip()}"
        for page in pages
        for module, names in imports.findall(page.read_text("utf-8"))
        for name in names.split(",")
    }
    assert len(shown) > 10
    settings = {"medmllm.Config", "medmllm.DataConfig", "medmllm.UserError"}  # pages of their own
    modules = {name for name, thing in DESCRIBED.items() if inspect.ismodule(thing)}
    assert {name for name in shown - settings if name.rpartition(".")[0] not in modules} <= set(DESCRIBED)


def test_the_reference_holds_the_face():
    elsewhere = {"Config", "DataConfig", "UserError"}  # the page of settings, and the module of errors
    assert {f"medmllm.{name}" for name in set(medmllm.__all__) - elsewhere} <= set(DESCRIBED)


@pytest.mark.parametrize("name", DESCRIBED)
def test_it_is_shown_by_a_program(name):
    thing, last = DESCRIBED[name], name.rpartition(".")[2]
    examples = [test for test in doctest.DocTestFinder().find(thing, last) if test.examples]
    assert examples or re.search(rf"\b{last}\b", PROGRAMS)


@pytest.mark.parametrize("name", DESCRIBED)
def test_it_and_its_members_say_what_they_do(name):
    thing = DESCRIBED[name]
    assert inspect.getdoc(thing)
    if inspect.isclass(thing) or inspect.ismodule(thing):
        assert [member for member, function in members(thing) if not inspect.getdoc(function)] == []

import re
import sys

import pytest

import graphalign
from graphalign import broken_components, build, components, with_argument
from graphalign.errors import PackageError
from graphalign.registry import KINDS

DATACLASS_KINDS = [kind for kind in KINDS if kind != "loss"]
NAMES = [(kind, name) for kind in KINDS for name in components(kind)]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_a_bare_name_builds(kind, name):
    assert type(build(kind, name)) is components(kind)[name]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [pair for pair in NAMES if pair[0] in DATACLASS_KINDS]
    + [
        ("solver", "sinkhorn(0.05, max_iter=50, tol=0)"),
        ("solver", "faq(restarts=3)"),
        ("estimator", "imle(lam=10, noise=gumbel(0.2), samples=4, normalize=False)"),
        ("estimator", "imle(noise=sum_of_gamma(k=32, terms=5))"),
        ("estimator", "perturbed(noise=normal(scale=1e-1))"),
        ("estimator", "straight_through(surrogate=sinkhorn(tau=0.3))"),
        ("graph", "knn(k=3, metric='cosine')"),
    ],
)
def test_what_repr_prints_builds_the_same_thing_again(kind, spec):
    component = build(kind, spec)
    assert build(kind, repr(component)) == component
    assert hash(build(kind, repr(component))) == hash(component)


def test_case_and_underscores_do_not_matter():
    assert build("solver", " Brute_Force ") == build("solver", "bruteforce") == graphalign.BruteForce()


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        (
            "solver",
            "hungarain",
            r"unknown solver 'hungarain'. Did you mean 'hungarian'\? Known: auction, brute_force",
        ),
        ("solver", "imle", r"'imle' is an estimator, not a solver; known: auction, brute_force"),
        ("noise", "lap()", r"'lap' is a solver, not a noise"),
        (
            "estimator",
            "imle(lamda=3)",
            r"imle has no argument 'lamda'. Did you mean 'lam'\? It takes lam, noise, samples",
        ),
        ("solver", "greedy(3)", "It takes no arguments"),
        ("solver", "lap(3)", "engine must be one of auto, numba, lapx, not 3"),
        ("estimator", "imle(noise=gumble(0.2))", "Did you mean 'gumbel'"),
        ("estimator", "imle(lam=-1)", "lam must be a finite number above 0"),
        ("solver", "imle(", "Not a component"),
        ("solver", "", "Not a component"),
        ("solver", "3", "Not a component"),
        ("solver", "lap; lap", "Not a component"),
        ("solver", "sinkhorn(tau=1+1)", "Not a component"),
        ("solver", "sinkhorn(tau=abs)", "unknown component 'abs'"),
        ("solver", "sinkhorn(**{'tau': 1})", "Not a component"),
        ("solver", "__import__('os').getcwd()", "Not a component"),
        ("solver", "(lambda: 1)()", "Not a component"),
        ("solvers", "lap", r"unknown kind 'solvers'. Did you mean 'solver'\?"),
    ],
)
def test_mistakes_are_told(kind, spec, message):
    with pytest.raises(ValueError, match=message):
        build(kind, spec)


def _install(folder, name, group, entry, code="from graphalign import Lap as Part"):
    """A package with one entry point, as an installer would leave it."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry} = {name}:Part\n")


@pytest.mark.parametrize("kind", KINDS)
def test_an_installed_package_adds_a_component(kind, tmp_path, monkeypatch):
    code = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Part:\n    size: int = 1\n"
    _install(tmp_path, f"strange_{kind}", KINDS[kind][2], "strange", code)
    monkeypatch.syspath_prepend(tmp_path)
    assert components(kind)["strange"].__module__ == f"strange_{kind}"
    assert build(kind, "strange(size=3)").size == 3
    sys.modules.pop(f"strange_{kind}")


def test_a_clash_of_names_is_an_error_of_that_name_alone(tmp_path, monkeypatch):
    _install(tmp_path, "rude_package", "graphalign.solvers", "Lap")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"'Lap' of the package rude_package is already taken by 'lap'"):
        build("solver", "lap")
    assert {"lap", "Lap"} == set(broken_components("solver"))
    assert build("solver", "hungarian") == graphalign.Hungarian()


def test_two_packages_with_one_name_are_an_error(tmp_path, monkeypatch):
    _install(tmp_path, "first_package", "graphalign.solvers", "mine")
    _install(tmp_path, "second_package", "graphalign.solvers", "mine")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PackageError, match="second_package is already taken by 'mine' of the package first_package"):
        build("solver", "mine")


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import nowhere_to_be_found", r"ModuleNotFoundError: .*nowhere_to_be_found"),
        ("", "AttributeError: .*Part"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("Part = 3", "is not a class or a function, but 3"),
    ],
)
def test_a_broken_package_is_named_and_breaks_nothing_else(code, what, tmp_path, monkeypatch):
    _install(tmp_path, "broken_package", "graphalign.noises", "broken", code)
    monkeypatch.syspath_prepend(tmp_path)
    assert build("noise", "gumbel") == graphalign.Gumbel()
    assert "broken_package" not in sys.modules
    with pytest.raises(PackageError, match=f"'broken_package:Part' of the package broken_package.* {what}") as failed:
        build("noise", "broken")
    assert "pip uninstall broken_package" in failed.value.hint
    assert "broken" not in components("noise")
    assert str(broken_components("noise")["broken"]) == str(failed.value)
    sys.modules.pop("broken_package", None)


def test_arguments_never_mix_up_kinds():
    names = [name for kind in KINDS for name in components(kind)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("kind", "spec", "what"),
    [
        ("estimator", "imle(noise=hungarian)", "'hungarian' is a solver, not a noise"),
        ("estimator", "imle(noise=0.2)", "noise must be a noise"),
        ("estimator", "perturbed(noise=knn)", "'knn' is a graph, not a noise"),
        ("estimator", "perturbed(knn)", "noise must be a noise"),
        ("estimator", "straight_through(surrogate=gumbel)", "'gumbel' is a noise, not a solver"),
        ("estimator", "straight_through(gumbel)", "surrogate must be callable"),
        ("estimator", "straight_through(surrogate='sinkhorn')", "surrogate must be callable"),
        ("loss", "alignment(graph=gumbel)", "'gumbel' is a noise, not a graph"),
        ("loss", "alignment(affinity=knn)", "'knn' is a graph, not an affinity"),
        ("loss", "fenchel_young(solver=knn)", "'knn' is a graph, not a solver"),
        ("loss", "fenchel_young(gumbel)", "solver must be callable"),
        ("solver", "faq(restarts=1.5)", "whole number"),
        ("estimator", "imle(lam=1, lam=2)", "twice"),
        ("estimator", f"imle(lam={10**400})", "finite number above 0"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_at_once(kind, spec, what):
    with pytest.raises(ValueError, match=what):
        build(kind, spec)


@pytest.mark.parametrize(
    ("kind", "spec", "name", "value", "changed"),
    [
        ("estimator", "imle", "samples", 8, "imle(samples=8)"),
        ("estimator", "imle(lam=2, samples=4)", "samples", 8, "imle(lam=2, samples=8)"),
        ("estimator", "IMLE(2.0, gumbel(0.1))", "noise.scale", 0.5, "IMLE(lam=2.0, noise=gumbel(scale=0.5))"),
        ("estimator", "imle(lam=2)", "noise.scale", 0.5, "imle(lam=2, noise=gumbel(0.5))"),
        ("estimator", "imle", "noise", "normal(0.3)", "imle(noise=normal(0.3))"),
        ("estimator", "straight_through(surrogate=sinkhorn)", "surrogate.tau", 0.2,
         "straight_through(surrogate=sinkhorn(tau=0.2))"),
        ("graph", "knn", "metric", "cosine", "knn(metric='cosine')"),
        ("loss", "fenchel_young(samples=2)", "noise.scale", 0.1, "fenchel_young(samples=2, noise=normal(0.1))"),
        ("loss", "infonce", "learnable", False, "infonce(learnable=False)"),
    ],
)  # fmt: skip
def test_an_argument_of_a_spec_is_set(kind, spec, name, value, changed):
    found, wanted = build(kind, with_argument(kind, spec, name, value)), build(kind, changed)
    assert repr(found) == repr(wanted)


@pytest.mark.parametrize(
    ("spec", "name", "what"),
    [
        ("imle", "sampels", "imle has no argument 'sampels'. Did you mean 'samples'"),
        ("imle", "noise.sigma", "Gumbel has no argument 'sigma'"),
        ("imle(1, 2, 3, 4, 5)", "samples", "too many positional arguments"),
        ("imle(lam=1, lam=2)", "samples", "twice"),
        ("imle(**{})", "samples", "Not a component"),
        ("nothing", "samples", "unknown estimator 'nothing'"),
        ("straight_through", "surrogate.tau", "Not a component: 'None'"),
    ],
)
def test_an_argument_that_does_not_exist_is_not_set(spec, name, what):
    with pytest.raises(ValueError, match=re.escape(what)):
        with_argument("estimator", spec, name, 8)


def test_a_plain_function_of_a_package_is_a_solver(tmp_path, monkeypatch):
    code = 'from graphalign import Lap\ndef Part(problem):\n    """As lap."""\n    return Lap()(problem)\n'
    _install(tmp_path, "plain_package", "graphalign.solvers", "plainfn", code)
    monkeypatch.syspath_prepend(tmp_path)
    solver = build("solver", "plainfn")
    assert graphalign.match(scores=[[5.0, 1.0], [4.0, 3.0]], solver=solver).objective == 8.0
    assert graphalign.match(scores=[[5.0, 1.0], [4.0, 3.0]], solver="plainfn()").objective == 8.0
    assert components("solver")["plainfn"].__doc__ == "As lap."
    with pytest.raises(ValueError, match="takes no arguments"):
        build("solver", "plainfn(3)")
    sys.modules.pop("plain_package")

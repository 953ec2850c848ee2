"""The house keeps its layers, importing has no effect, and functions stay short."""

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

import graphalign
import medmllm

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("graphalign", "medmllm", "cli/exgra")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
# Names that say nothing where they are imported: one module may have each.
BARE = {"load", "check", "prepare", "measure", "describe"}
STRANGERS = {
    "graphalign": {"medmllm", "exgra", "transformers", "peft", "accelerate", "typer", "rich", "matplotlib", "pydantic"},
    "medmllm": {"exgra", "typer", "rich"},
}


def module(path):
    """The dotted name of a file."""
    parts = path.relative_to(ROOT / "cli" if "cli" in path.relative_to(ROOT).parts else ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in SOURCES}


def imported(path):
    """Top-level packages that a file imports anywhere, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", STRANGERS)
def test_no_package_knows_those_above_it(package):
    found = {(path.name, name) for path in (ROOT / package).rglob("*.py") for name in imported(path)}
    assert len(found) > 5
    assert not [pair for pair in found if pair[1] in STRANGERS[package]]


def modules_after(statement):
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_graphalign_alone_loads_little():
    assert not modules_after("import graphalign, graphalign.errors, graphalign.extras, medmllm") & {"torch", "numpy"}
    loaded = modules_after("from graphalign import Problem")
    assert "torch" in loaded
    assert not loaded & (STRANGERS["graphalign"] | {"torch_geometric", "pygmtools", "lap", "scipy", "yaml", "PIL"})


@pytest.mark.parametrize("package", [graphalign, medmllm], ids=lambda package: package.__name__)
def test_a_face_names_each_thing_once_and_where_it_is_defined(package):
    source = (ROOT / package.__name__ / "__init__.py").read_text("utf-8")
    declared = {
        name.name: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.level and node.module not in ("lazy", "_version")
        for name in node.names
    }
    home = {name: module for module, names in package._HOME.items() for name in names.split()}
    assert home == declared
    assert sorted(home) == sorted(set(package.__all__) - {"__version__"})
    assert [name for name in package.__all__ if getattr(package, name) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense


def test_graphalign_matches_without_anything_of_the_extras():
    blocked = STRANGERS["graphalign"] | {"yaml", "safetensors", "tokenizers", "jaxtyping", "beartype"}
    code = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(blocked)}))
import torch, graphalign as ga
scores = (torch.eye(4)[[2, 0, 3, 1]] / 10).requires_grad_()
match = ga.differentiable(ga.build("solver", "hungarian"), ga.build("estimator", "imle"))
found = match(ga.Problem(ga.NodeEdge(scores)), generator=torch.Generator().manual_seed(0)).value.node
found.diagonal().sum().backward()
assert found.sum(0).tolist() == [1, 1, 1, 1], found
assert scores.grad.abs().sum() > 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


TRAINER = {"transformers", "peft", "accelerate", "tokenizers", "safetensors"}
ELSE = (
    "match a.npy b.npy --out found --no-picture", "match a.npy b.npy --solver faq --truth identity", "solvers",
    "estimators imle", "noises", "graphs", "affinities", "losses", "config show", "config list",
)  # fmt: skip


def test_what_does_not_train_runs_without_what_trains(tmp_path):
    for name, shift in (("a", 0.0), ("b", 0.01)):
        np.save(tmp_path / f"{name}.npy", np.eye(5, 4) + shift)
    benches = [f"graphalign.bench.{path.stem}" for path in (ROOT / "graphalign/bench").glob("[a-z]*.py")]
    assert "graphalign.bench.gradients" in benches
    code = f"""
from importlib import import_module
from exgra.main import run
for command in {ELSE}:
    assert run(command.split()) == 0, command
for name in {benches}:
    import_module(name)
assert run(["match", "audio.npy"]) == 2
assert run(["train", "--dry-run"]) == 4
"""
    done = run_without(TRAINER | {"matplotlib"}, code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "found" / "matching.csv").exists()
    assert "two files are needed" in done.stderr
    assert "hint:  pip install -c constraints.txt -e '.[train]'" in done.stderr


def run_without(blocked, code, folder):
    """A program in a process that cannot import some packages."""
    block = f"import sys; sys.modules.update(dict.fromkeys({sorted(blocked)}))\n"
    return subprocess.run([sys.executable, "-c", block + code], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_importing_has_no_effect(path):
    """A module holds imports, definitions and constants: no bare call, no loop, no `with` at its top."""
    if path.name == "__main__.py":
        return
    for node in ast.parse(path.read_text("utf-8")).body:
        assert not isinstance(node, (ast.For, ast.While, ast.With)), ast.unparse(node)
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
            assert re.match(r"(\w+\.)*(command|add_typer|register)\(", ast.unparse(node)), ast.unparse(node)
    names = {node.attr for statement in ast.parse(path.read_text("utf-8")).body if not hasattr(statement, "body")
             for node in ast.walk(statement) if isinstance(node, ast.Attribute)}  # fmt: skip
    assert not names & {"environ", "getenv", "mkdir", "set_num_threads", "manual_seed"}


def functions():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                yield f"{path.relative_to(ROOT)}:{node.name}", node.end_lineno - first.lineno + 1


def test_functions_are_short_and_files_too():
    lengths = dict(functions())
    assert sorted(lengths.values())[int(0.9 * len(lengths))] <= 35
    assert {name: length for name, length in lengths.items() if length > 60} == {}
    assert [path.name for path in SOURCES if len(path.read_text("utf-8").splitlines()) > 400] == []


def test_no_public_function_name_stands_in_more_than_two_modules():
    homes = defaultdict(list)
    for path in SOURCES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                homes[node.name].append(path.relative_to(ROOT).as_posix())
    assert len(homes) > 500
    assert {name: paths for name, paths in homes.items() if len(paths) > 2} == {}
    stems = Counter(path.stem for path in SOURCES)
    assert {name for name in BARE if len(homes[name]) > 1 or stems[name] > 1} == set()


def test_no_module_hides_behind_what_its_package_defines():
    """`import graphalign.solvers.lap as lap` gives the module, whatever else was imported before."""
    code = f"""
from importlib import import_module
for name in {sorted(MODULES)}:
    if not name.endswith("__main__"):
        above, _, last = name.rpartition(".")
        module = import_module(name)
        face = import_module(above or name)
        for public in getattr(face, "__all__", ()):
            getattr(face, public)
        assert not above or getattr(face, last) is module, name
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "cli", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def imports(name, path):
    """Modules of the house that a module imports anywhere, inside functions too, with the packages above them."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        found = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names]
        for target in found:
            parts = target.split(".")
            above = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
            yield from (one for one in above if one in MODULES and not f"{name}.".startswith(f"{one}."))


def circles(graph):
    """The modules that are left where whatever imports nothing that is left is taken away again and again."""
    while free := [name for name, targets in graph.items() if not targets & graph.keys()]:
        graph = {name: targets for name, targets in graph.items() if name not in free}
    return graph


def test_there_is_no_import_circle_eager_or_lazy():
    assert sorted(circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()})) == ["a", "b", "c"]
    graph = {name: set(imports(name, path)) for name, path in MODULES.items()}
    assert sum(map(len, graph.values())) > 1000
    assert circles(graph) == {}


def test_the_ground_floor_of_medmllm_holds_the_entrance_alone():
    assert len(list((ROOT / "medmllm").glob("*.py"))) <= 6


def test_the_linter_agrees_with_the_layers():
    pytest.importorskip("importlinter")
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0

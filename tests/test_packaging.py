"""Pins satisfy the ranges, the wheel holds what it must, and a clean environment can use graphalign alone."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OLDEST, NEWEST = PROJECT["requires-python"].removeprefix(">=") + ".0", "3.13.0"  # Debian 12 has 3.11.2


def pins(file="constraints.txt"):
    lines = (ROOT / file).read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def requirements():
    for text in [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]:
        if not text.startswith("exgra["):
            yield Requirement(text)


def pinned(file="constraints.txt"):
    """The version of each pinned package."""
    return {canonicalize_name(name): Version(number) for name, number in (line.split("==") for line in pins(file))}


def test_every_range_holds_its_pin():
    versions = pinned()
    wrong = [str(r) for r in requirements() if versions.get(canonicalize_name(r.name), Version("0")) not in r.specifier]
    assert wrong == []


def test_no_pinned_package_refuses_the_pin_of_another():
    """By what the installed packages say of themselves; gradio, for one, holds Pillow below 13. Nor an old Python."""
    versions, asked, wrong = pinned(), 0, []
    for package in distributions():
        if versions.get(canonicalize_name(package.name)) != Version(package.version):
            continue  # not pinned, or another version, which may ask for something else
        if OLDEST not in SpecifierSet(package.metadata["Requires-Python"] or ""):
            wrong.append(f"{package.name} {package.version} wants Python {package.metadata['Requires-Python']}")
        for requirement in map(Requirement, package.requires or ()):
            version = versions.get(canonicalize_name(requirement.name))
            if version and (not requirement.marker or requirement.marker.evaluate({"extra": ""})):
                asked += 1
                if version not in requirement.specifier:
                    wrong.append(f"{package.name} {package.version} wants {requirement}, pinned is {version}")
    assert wrong == []
    assert asked > 100


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("python", [OLDEST, NEWEST])
def test_all_extras_resolve_together_to_the_pins(tmp_path, python):
    """One environment for everything: what pip would install is what is pinned, except torch's CUDA packages."""
    report, everything = tmp_path / "report.json", f"{ROOT}[{','.join(EXTRAS)}]"
    command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--report", report]
    command += ["--target", tmp_path / "nothing", "--python-version", python, "--only-binary=:all:"]
    done = subprocess.run([*command, "-c", ROOT / "constraints.txt", everything], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {canonicalize_name(i["metadata"]["name"]): i for i in json.loads(report.read_text("utf-8"))["install"]}
    others = {name for name in found if name not in pinned()} - {"exgra", "setuptools", "triton"}
    assert [name for name in others if not name.startswith(("nvidia-", "cuda-"))] == []
    assert {"gradio", "mlflow", "wandb", "trackio", "pillow", "transformers", "mkdocs"} <= set(found)


def test_one_extra_holds_what_users_may_want():
    (every,) = (Requirement(text) for text in EXTRAS["all"])
    inside = {extra for name in every.extras for r in map(Requirement, EXTRAS[name]) for extra in r.extras}
    assert every.extras | inside == set(EXTRAS) - {"all", "docs", "test", "dev"}


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-latest.txt"])
def test_pins_are_exact_sorted_and_of_no_one_machine(file):
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins(file))
    assert pins(file) == sorted(pins(file), key=str.lower)
    assert "torch" in pinned(file)


def test_the_newest_versions_are_in_range_and_not_older():
    newest, ours = pinned("constraints-latest.txt"), pinned()
    assert {name: (ours[name], newest[name]) for name in newest.keys() & ours if newest[name] < ours[name]} == {}
    ranges = {canonicalize_name(r.name): r.specifier for r in requirements()}
    assert {name: newest[name] for name in newest.keys() & ranges if newest[name] not in ranges[name]} == {}
    assert ranges.keys() - newest.keys() == {"gradio", "trackio", "mlflow"}  # which hold other packages back


def test_dev_holds_every_extra_that_the_launcher_installs():
    def names(extra):
        inner = [Requirement(text) for text in EXTRAS[extra]]
        return {extra}.union(
            *(names(e) for requirement in inner if requirement.name == "exgra" for e in requirement.extras)
        )

    assert {"cli", "train", "viz", "docs", "test"} <= names("dev")


def test_the_base_is_what_graphalign_needs():
    names = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert names == {"torch", "torch-geometric", "pygmtools", "lapx", "numpy", "scipy"}


def test_training_needs_the_torch_that_the_doctor_looks_for():
    from exgra.commands.doctor import TORCH

    assert f"torch>={'.'.join(map(str, TORCH))}" in EXTRAS["train"]


def test_every_extra_is_installed_from_the_clone():
    """This package is in no index, where another of its name might be."""
    rooms = ("graphalign", "medmllm", "cli", "docs", "benchmarks")
    texts = [path for room in rooms for path in (ROOT / room).rglob("*")]
    texts = [ROOT / "README.md", *(path for path in texts if path.suffix in (".py", ".md", ".yaml"))]
    assert len(texts) > 300
    wrong = re.compile(r"pip install[^\n#]*\bexgra\b")
    assert {path.name: found for path in texts if (found := wrong.findall(path.read_text("utf-8")))} == {}
    assert set(re.findall(r"pip_line\([\"'](\w+)", "".join(path.read_text("utf-8") for path in texts))) <= set(EXTRAS)


def test_the_installed_version_is_the_written_one():
    from graphalign import __version__

    assert distribution("exgra").version == __version__
    assert (ROOT / "CHANGELOG.md").read_text("utf-8").count("## [Unreleased]") == 1


@pytest.mark.slow
def test_a_wheel_alone_serves_graphalign_in_a_clean_environment(tmp_path):
    """Takes minutes and the package index: base dependencies only, far from the checkout."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    for name in (
        "graphalign/py.typed",
        "medmllm/configs/demo.yaml",
        "medmllm/data/embedded/train.zip",
        "exgra/main.py",
    ):
        assert name in held
    assert not [name for name in held if name.startswith(("tests", "docs", "cli"))]
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel], check=True)
    code = "import graphalign as ga, torch; print(ga.Lap()(ga.Problem(ga.NodeEdge(torch.eye(3)))).value.node.trace())"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "tensor(3.)\n"
    refused = subprocess.run([tmp_path / "venv" / "bin" / "exgra"], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 4
    assert "pip install -c constraints.txt -e '.[train]'" in refused.stderr

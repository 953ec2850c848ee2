"""The example package under docs/extend is installed as a stranger would, holds its own tests, and is known by name."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTEND = ROOT / "docs" / "extend"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a module of Python where the package is installed, away from the checkout."""
    folder = tmp_path_factory.mktemp("stranger")
    site, source = folder / "site", folder / "source"
    # pip builds inside the source folder
    subprocess.run(["cp", "-r", EXTEND / "example", source], check=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "--target", site, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path = os.pathsep.join(map(str, (site, ROOT, ROOT / "cli")))

    def call(*words):
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=source,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )

    return call


def test_its_own_tests_pass(run):
    done = run("pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 40


@pytest.mark.parametrize(
    ("command", "name", "setting"),
    [
        ("solvers", "bidding", "eps"),
        ("estimators", "antithetic", "sigma"),
        ("graphs", "mutual", "k"),
        ("losses", "hardest_negative", "margin"),
    ],
)
def test_the_command_line_describes_every_part(run, command, name, setting):
    shown = run("exgra", command, name)
    assert shown.stdout.startswith(f"{name}({setting}="), shown.stderr


PARTS = {
    "matching": ["--solver", "bidding(eps=0.001)", "--estimator", "antithetic", "align.graph=mutual"],
    "loss": ["align.loss=hardest_negative(margin=0.3)"],
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_every_part_trains(run, tiny, tmp_path, parts):
    """From their names on the command line, with a model of seconds."""
    done = run("exgra", "train", tiny, "--out", tmp_path / "run", *parts, "train.steps=2", "--json")
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    losses = [step["loss_align"] for step in steps if "loss_align" in step]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))


SHOWN = {"solver.md": "bidding", "estimator.md": "antithetic", "graph.md": "mutual", "loss.md": "hardest_negative"}


@pytest.mark.parametrize("page", SHOWN)
def test_the_page_shows_the_file_of_the_package(page):
    """Word for word; and its line in the package's table of names."""
    text = (EXTEND / page).read_text("utf-8")
    assert (EXTEND / "example" / "graphalign_example" / f"{SHOWN[page]}.py").read_text("utf-8") in text
    (entry,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert entry in (EXTEND / "example" / "pyproject.toml").read_text("utf-8")

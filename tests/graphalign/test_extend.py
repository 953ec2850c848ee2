"""The example package under docs/extend is installed as a stranger would, holds its own tests, and is known by name."""

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
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 20


def test_the_command_line_knows_both_parts(run):
    shown = run("exgra", "solvers", "bidding")
    assert "eps" in shown.stdout, shown.stderr
    train = run("exgra", "train", "--dry-run", "--solver", "bidding(eps=0.001)", "--estimator", "antithetic")
    assert train.returncode == 0, train.stderr


@pytest.mark.parametrize(("page", "module"), [("solver.md", "bidding"), ("estimator.md", "antithetic")])
def test_the_page_shows_the_code_of_the_package(page, module):
    """Word for word, from the decorator on."""
    source = (EXTEND / "example" / "graphalign_bidding" / f"{module}.py").read_text("utf-8")
    assert source[source.index("@dataclass") :] in (EXTEND / page).read_text("utf-8")

"""No finite problem ends the process or gets a wrong number in silence; see fuzzed.py."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.graphalign import fuzzed

SLICE = 500
KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")


def test_some_finite_problems():
    assert fuzzed.run(0, 24)["wrong"] == []


def test_some_enumerated_problems():
    found = fuzzed.enumerate_small(0, 60)
    assert found["wrong"] == []
    assert found["outcomes"]["lap: refused"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("what", "last"), [("enumerate", 5_000), ("run", 10_000)])
def test_all_problems_in_processes_of_their_own(what, last, capsys):
    """5,000 problems beside enumeration, and 100,000 finite ones: 10,000 batches of ten."""
    outcomes, problems = Counter(), 0
    for first in range(0, last, SLICE):
        call = [sys.executable, "-W", "error", "-X", "faulthandler", "-m", "tests.graphalign.fuzzed", what]
        environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*call, str(first), str(first + SLICE)], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found = json.loads(done.stdout)
        assert found["wrong"] == []
        problems += found["problems"]
        outcomes.update({name: n for name, n in found["outcomes"].items() if name.endswith(": right")})
    assert problems >= 5_000
    with capsys.disabled():
        sys.stdout.write(f"\n{what}: {problems:,} problems; solved: {dict(outcomes)}\n")

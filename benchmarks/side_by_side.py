"""How much a default run loses to other programs on the machine, beside an older build.

It runs alone, with a busy program, and with a second run.

    git worktree add ../older 3af13d4
    python benchmarks/side_by_side.py --older ../older --out benchmarks/results/side_by_side-cpu.json

Both builds run `exgra train` as it is, without variables for threads, with as many threads as torch takes by itself.
They take turns, so that whatever else the machine does meets both. A figure is the median of the steps' seconds on the
clock.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parents[1]
SCENES = {
    "alone": "one run",
    "beside a busy program": "one run, and one program that keeps one processor busy",
    "two at once": "two runs",
}
WARMUP = 2  # steps that are not counted
THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--older", type=Path, required=True, help="a checkout of the build to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", type=Path, help="write the document here too")
    options = parser.parse_args()
    taken: dict[str, dict[str, list[float]]] = {scene: {"older": [], "this": []} for scene in SCENES}
    for _ in range(options.rounds):
        for scene, found in taken.items():
            for name, build in (("older", options.older), ("this", HERE)):
                found[name] += seconds(build.resolve(), scene, options.steps)
                print(f"{scene}, {name}: {median(found[name]):.2f} s a step", file=sys.stderr, flush=True)
    document = {"processors": os.cpu_count(), "scenes": [row(scene, found) for scene, found in taken.items()]}
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


def table(document: dict[str, Any]) -> str:
    """The document as a table in Markdown."""
    lines = ["| scene | older, s a step | this, s a step | ratio |", "| --- | --: | --: | --: |"]
    for found in document["scenes"]:
        figures = f"{found['older_seconds']:.2f} | {found['seconds']:.2f} | {found['ratio']:.2f}"
        lines.append(f"| {found['scene']} ({SCENES[found['scene']]}) | {figures} |")
    return "\n".join(lines)


def row(scene: str, found: dict[str, list[float]]) -> dict[str, Any]:
    older, this = median(found["older"]), median(found["this"])
    return {"scene": scene, "older_seconds": older, "seconds": this, "ratio": this / older}


def seconds(build: Path, scene: str, steps: int) -> list[float]:
    """Seconds of the counted steps of all runs of a scene."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        if scene == "beside a busy program":
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(busy.kill)
        runs = [Path(place) / str(number) for number in range(2 if scene == "two at once" else 1)]
        started = [start(build, run, steps) for run in runs]
        for run, process in zip(runs, started, strict=True):
            if process.wait():
                raise SystemExit(f"a run of {build} failed:\n{run.with_suffix('.log').read_text()}")
        return [second for run in runs for second in read(run / "timings.jsonl")]


def start(build: Path, run: Path, steps: int) -> subprocess.Popen[bytes]:
    """A default run of a build, shortened; its folder is `run`."""
    others = {name: value for name, value in os.environ.items() if name not in THREADS}
    environment = others | {"PYTHONPATH": os.pathsep.join([str(build), str(build / "cli")])}
    words = [f"train.steps={WARMUP + steps}", f"train.eval_every={WARMUP + steps}", "eval.validation_limit=4"]
    command = [sys.executable, "-m", "exgra", "train", *words, "eval.test_limit=4", "--out", str(run)]
    with run.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(command, cwd=build, env=environment, stdout=log, stderr=log)


def read(timings: Path) -> list[float]:
    return [json.loads(line)["seconds"] for line in timings.read_text().splitlines()][WARMUP:]


if __name__ == "__main__":
    main()

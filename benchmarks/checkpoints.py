"""What checksums cost: seconds of saving a checkpoint of 1 GB, beside an earlier build or torch's saver alone.

    python benchmarks/checkpoints.py --beside 3af13d4 --rounds 30 --out benchmarks/results/checkpoints-cpu.json
    python benchmarks/checkpoints.py --beside torch

3af13d4 is the last build without checksums. Each way to save is a process of its own; the two save in turn, the first
of a round alternates, and the disk is idle before each. Both sync their files. The result has every round, medians,
and quartiles of the rounds' ratios: fresh memory, a shared disk and busy cores make single saves take twice as long.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

Save = Callable[[Path, dict[str, Any]], object]
HERE = Path(__file__).resolve().parents[1]
OURS = "with checksums"


def saver(way: str) -> Save:
    """How this process saves: by torch alone, or as the build that it imports does."""
    if way == "torch":
        from torch.distributed.checkpoint import state_dict_saver

        return lambda folder, tensors: state_dict_saver.save(tensors, checkpoint_id=folder / "step-00000001")
    if way == OURS:
        from medmllm.run.checkpoint import save_checkpoint

        return lambda folder, tensors: save_checkpoint(folder, 1, tensors, {})
    from medmllm.checkpoint import save  # type: ignore[import-not-found]  # of the earlier build

    return lambda folder, tensors: save(folder, 1, tensors, {})


def work(way: str, size: int, place: Path) -> None:
    """Save once for each line that is read, and print seconds and CPU seconds of all threads."""
    import torch

    warnings.simplefilter("ignore")  # torch's, that there is one process
    save, count = saver(way), 16
    tensors = {f"x{n}": torch.rand(size // 4 // count) for n in range(count)}
    for _ in sys.stdin:
        folder = place / way.replace(" ", "-")
        folder.mkdir()
        os.sync()
        begin, busy = time.perf_counter(), time.process_time()
        save(folder, tensors)
        found = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - busy}
        shutil.rmtree(folder)
        print(json.dumps(found), flush=True)


def compare(sources: dict[str, Path], rounds: int, size: int, place: Path) -> dict[str, Any]:
    """All ways to save `size` bytes, in turn; the first two rounds warm up and are not counted."""
    found: list[dict[str, Any]] = []
    with ExitStack() as stack:
        workers: dict[str, Any] = {}
        for way, source in sources.items():
            command = [sys.executable, __file__, "--work", way, "--bytes", str(size), "--place", str(place)]
            environment = os.environ | {"PYTHONPATH": str(source)}
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            workers[way] = stack.enter_context(subprocess.Popen(command, env=environment, **pipes))
        for number in range(rounds + 2):
            line = {}
            for way in sorted(workers, reverse=bool(number % 2)):
                worker = workers[way]
                print(file=worker.stdin, flush=True)
                line[way] = json.loads(worker.stdout.readline())
            found.append(line)
    return {"bytes": size, **summary(found[2:])}


def summary(found: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians of each way, the ratios of ours to each other's, and the rounds."""
    result: dict[str, Any] = {"medians": {}, "ratios": {}}
    for way in found[0]:
        for unit in ("seconds", "cpu_seconds"):
            result["medians"].setdefault(way, {})[unit] = statistics.median(line[way][unit] for line in found)
            if way != OURS:
                ratios = [line[OURS][unit] / line[way][unit] for line in found]
                quartiles = [round(value, 3) for value in statistics.quantiles(ratios, n=4)]
                result["ratios"].setdefault(f"{OURS} / {way}", {})[f"quartiles_of_{unit}"] = quartiles
    rounds = [{way: [round(value, 3) for value in line[way].values()] for way in line} for line in found]
    return {**result, "rounds_of_seconds_and_cpu_seconds": rounds}


def unpacked(commit: str, place: Path) -> Path:
    """The source of an earlier build."""
    place.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=HERE, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x", "-C", place], input=archive, check=True)
    return place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--bytes", type=int, default=2**30)
    parser.add_argument("--beside", default="torch", help="torch, or a commit of this checkout's history")
    parser.add_argument("--place", type=Path, help="folder on the disk to write to")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.bytes, given.place)
        return
    with tempfile.TemporaryDirectory(dir=given.place) as folder:
        place = Path(folder)
        earlier = HERE if given.beside == "torch" else unpacked(given.beside, place / "earlier")
        sources = {OURS: HERE, given.beside: earlier}
        load = round(os.getloadavg()[0], 1)
        result = compare(sources, given.rounds, given.bytes, place)
    machine = {"cores": os.cpu_count(), "load_before": load, "platform": platform.platform()}
    rounds = result.pop("rounds_of_seconds_and_cpu_seconds")
    text = json.dumps({**result, "torch": __import__("torch").__version__, "machine": machine}, indent=2)
    print(text)
    if given.out:
        lines = ",\n".join(f"    {json.dumps(line)}" for line in rounds)
        text = f'{text[:-2]},\n  "rounds_of_seconds_and_cpu_seconds": [\n{lines}\n  ]\n}}'
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

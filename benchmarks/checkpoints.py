"""What checksums cost: saving a checkpoint of 1 GB with them, beside torch's saver alone on the same disk.

    python benchmarks/checkpoints.py --rounds 9 --out benchmarks/results/checkpoints-cpu.json

The two are timed in turn, the first of a round alternates, and both sync all their files. The result has medians over
rounds, and the median of the rounds' ratios with its quartiles: a shared disk or busy cores spread it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import state_dict_saver

from medmllm.run.checkpoint import save_checkpoint

Save = Callable[[Path, dict[str, torch.Tensor]], object]


def save_by_torch(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """torch's saver, which syncs its files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is one process
        state_dict_saver.save(tensors, checkpoint_id=folder / "step-00000001")


def save_with_checksums(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """A checkpoint of a run, with its manifest."""
    save_checkpoint(folder, 1, tensors, {})


def time_save(save: Save, place: Path, tensors: dict[str, torch.Tensor]) -> tuple[float, float]:
    """Seconds, and CPU seconds of all threads, of one save into an empty folder."""
    folder = place / "checkpoints"
    folder.mkdir()
    os.sync()
    begin, busy = time.perf_counter(), time.process_time()
    save(folder, tensors)
    found = time.perf_counter() - begin, time.process_time() - busy
    shutil.rmtree(folder)
    return found


def compare_saves(rounds: int, size: int, place: Path) -> dict[str, Any]:
    """Both ways to save `size` bytes, in turn; the first round warms up and is not counted."""
    count = 16
    tensors = {f"x{n}": torch.rand(size // 4 // count) for n in range(count)}
    ways: dict[str, Save] = {"torch": save_by_torch, "checksums": save_with_checksums}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in sorted(ways, reverse=bool(number % 2)):
            timed = time_save(ways[name], place, tensors)
            if number:
                found[name].append(timed)
    result: dict[str, Any] = {"bytes": size, "rounds": rounds}
    for place_of, unit in enumerate(("seconds", "cpu_seconds")):
        series = {name: [timed[place_of] for timed in lines] for name, lines in found.items()}
        ratios = [b / a for a, b in zip(series["torch"], series["checksums"], strict=True)]
        result[unit] = {name: statistics.median(values) for name, values in series.items()}
        result[f"ratio_of_{unit}"] = statistics.median(ratios)
        result[f"quartiles_of_ratio_of_{unit}"] = [*statistics.quantiles(ratios, n=4)][::2]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bytes", type=int, default=2**30)
    parser.add_argument("--place", type=Path, help="folder on the disk to write to")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.place) as place:
        result = compare_saves(given.rounds, given.bytes, Path(place))
    machine = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "platform": platform.platform()}
    text = json.dumps({**result, "machine": machine, "torch": torch.__version__}, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

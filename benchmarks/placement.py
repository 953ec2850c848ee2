"""Where should the solver run, on the processor or on the GPU, and would it pay to hide it behind the model?

    python benchmarks/placement.py --out placement.json

Times the whole alignment of a step, views to gradient, with three views of width 4096 as training has them, by solver
and by samples of the global batch. `hungarian` and `lap` solve on the processor and pay for the copies; `auction` and
`sinkhorn` stay on the device. The reference is the time of a training step of 7B (benchmarks/results/step-7b-*.json).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from medmllm.bench.step import device_name, synchronize
from medmllm.model.alignment import build_loss, solver_time
from medmllm.settings.schema import Config

WIDTH, TURNS, WARMUP = 4096, 5, 2
SOLVERS = {
    "hungarian": {"solver": "hungarian"},
    "lap": {"solver": "lap"},
    "auction": {"solver": "auction"},
    "sinkhorn": {"solver": "sinkhorn", "estimator": "implicit"},
}


def measured(name: str, samples: int, device: torch.device) -> dict[str, Any]:
    """Median seconds of the alignment, and of its solver within it."""
    config = Config.model_validate({"align": SOLVERS[name]})
    loss = build_loss(config.align, WIDTH, seed=0).to(device)
    turns = [turn(loss, samples, device, seed) for seed in range(WARMUP + TURNS)][WARMUP:]
    whole, solver = (median(column) for column in zip(*turns, strict=True))
    return {"solver": name, "samples": samples, "seconds": whole, "solver_seconds": solver}


def turn(loss: Any, samples: int, device: torch.device, seed: int) -> tuple[float, float]:
    views = torch.randn(3, samples, WIDTH, generator=torch.Generator().manual_seed(seed))
    views = (views + views.mean(0)).to(device).requires_grad_()  # modalities that have something in common
    synchronize(device)
    solver_time(loss)
    begin = time.perf_counter()
    features = dict(zip(("image", "answer", "caption"), views, strict=True))
    loss(features, generator=torch.Generator().manual_seed(seed)).loss.backward()
    synchronize(device)
    return time.perf_counter() - begin, solver_time(loss)["solver_seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--samples", type=int, nargs="+", default=[16, 64, 256])
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for samples in asked.samples:
        for name in SOLVERS:
            rows.append(row := measured(name, samples, device))
            whole, solver = (f"{1e3 * row[key]:.2f}" for key in ("seconds", "solver_seconds"))
            print(f"{name:10} {samples:5} samples {whole:>9} ms, of that the solver {solver}", flush=True)
    if asked.out:
        document = {
            "device": device_name(device),
            "torch": torch.__version__,
            "width": WIDTH,
            "turns": TURNS,
            "rows": rows,
        }
        asked.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

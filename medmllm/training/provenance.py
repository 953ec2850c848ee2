"""The origin of a run: versions and machine (`environment.json`), data files and their hashes (`data.json`)."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphalign.extras import installed
from medmllm.build import Job, looked_at
from medmllm.distributed import process
from medmllm.errors import DataError
from medmllm.run.callbacks import Listener
from medmllm.run.checkpoint import folder_of_step, read_copies
from medmllm.run.folder import Follower, RunFolder
from medmllm.run.manifest import DamagedError
from medmllm.settings.load import dump, leaves
from medmllm.settings.schema import Config

PACKAGES = ("exgra", "torch", "torch-geometric", "pygmtools", "lapx", "transformers", "accelerate", "numpy", "pillow")

DECISIVE = ("seed", "model", "data", "train", "align")  # sections that decide a run's figures


def environment() -> dict[str, Any]:
    """Versions and machine, as `environment.json` keeps them."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processes": process().world,
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: installed(name) for name in PACKAGES},
    }


def write_settings(run: RunFolder, config: Config, overrides: Sequence[str]) -> None:
    """Everything a run is repeated from, before it begins; what the caller typed is kept from the first start."""
    run.write_text("config.yaml", dump(config))
    if not (run.path / "overrides.txt").exists():
        run.write_text("overrides.txt", "".join(f"{line}\n" for line in overrides))
    run.set_status("running", name=config.name, seed=config.seed, steps=config.train.steps, error=None)
    run.write_json("environment.json", environment())


def describe_data(job: Job) -> dict[str, Any]:
    """Files, hashes, rows and what was left out: `data.json`."""
    return {
        "source": job.config.data.source,
        "fraction": job.config.data.fraction,
        "files": job.source.files(),
        "rows": {split: len(records) for split, records in job.splits.items()},
        "kinds": dict(Counter(r.kind for r in looked_at(job.records))),
        "skipped": [{"id": name, "reason": reason} for name, reason in sorted({one[1:] for one in job.skipped})],
        "warnings": list(job.source.warnings),
    }


def check_data(job: Job, run: RunFolder) -> None:
    """Refuse to continue a run on data files that are not what they were."""
    before = {file["path"]: file["sha256"] for file in run.read_json("data.json")["files"]}
    now = {file["path"]: file["sha256"] for file in job.source.files()}
    changed = [path for path in before.keys() | now.keys() if before.get(path) != now.get(path)]
    if changed:
        raise DataError(
            f"the data changed since the run began: {', '.join(sorted(changed))}",
            where=str(run.path / "data.json"),
            hint="put the old file back, or start a new run with another --out",
        )


def check_settings(config: Config, plain: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of a run with other settings; how the run is carried out may differ.

    Raises:
        DamagedError: which settings differ.
    """
    before, now = dict(leaves(plain["settings"])), dict(leaves(config.model_dump(mode="json")))
    known = [key for key in before.keys() & now.keys() if key.partition(".")[0] in DECISIVE]
    changed = sorted(key for key in known if before[key] != now[key])
    if changed:
        raise DamagedError(f"it belongs to a run with other settings ({', '.join(changed)} differ)")


def restore_files(run: RunFolder, step: int, say: Callable[[str], None]) -> None:
    """Put the run's files back as the checkpoint of `step` knows them, and say which had been lost or damaged."""
    if not isinstance(run, Follower):
        for name in run.rebuild(read_copies(run.path / "checkpoints" / folder_of_step(step))):
            say(f"{name} was missing, short or damaged; it is restored as after step {step}")


def already_done(run: RunFolder, listener: Listener) -> dict[str, Any]:
    """The summary of a run that is done; lines of its figures that were lost since are put back.

    Raises:
        RunError: the summary is damaged.
    """
    summary: dict[str, Any] = run.read_json("summary.json")
    if type(summary.get("steps")) is not int:
        raise run.damaged("summary.json", "it has no number of steps")
    restore_files(run, summary["steps"], listener.message)
    return summary

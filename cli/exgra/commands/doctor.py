"""`exgra doctor`: is this machine ready?"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import NamedTuple

import typer

from exgra.failure import EXTRAS
from exgra.options import Debug, Json
from exgra.screen import put_json, put_table
from graphalign.counts import count_of

TORCH = (2, 11)  # oldest torch of the extra train: its variable-length attention takes a window
TRAINER = "transformers"  # where it is installed, somebody wants to train, and all that training needs has to be there


# Packages that single guides need, and the extras that have them.
READERS = {"h5py": "h5ad", "nibabel": "medical", "POT": "pot", "pyarrow": "tables", "pydicom": "medical"}


class Check(NamedTuple):
    """One thing that was examined.

    Args:
        check: what it is.
        found: how it is.
        status: `ok`; `FAIL`, which has to be mended; or `optional`, which is absent and may stay so.
        fix: how to mend or to get it.
    """

    check: str
    found: str
    status: str
    fix: str = ""


def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Check Python, packages, devices, disk and the embedded data; exit 1 if something must be fixed."""
    checks = list(examine())
    if as_json:
        put_json([check._asdict() for check in checks])
    else:
        put_table(["check", "status", "found"], [row for check in checks for row in rows(check)])
    raise typer.Exit(1 if any(check.status == "FAIL" for check in checks) else 0)


def rows(check: Check) -> Iterator[tuple[str, str, str]]:
    yield check.check, check.status, check.found
    if check.fix:
        yield "", "fix" if check.status == "FAIL" else "to get it", check.fix


def examine() -> Iterator[Check]:
    yield Check("python", sys.version.split()[0], "ok")
    yield from packages()
    yield from compute()
    yield torchvision()
    yield assignment()
    yield disk()
    yield embedded_data()


def packages() -> Iterator[Check]:
    from graphalign.extras import installed

    names = {"PIL": "pillow", "yaml": "pyyaml"}
    for module, extra in {**EXTRAS, **READERS}.items():
        name = names.get(module, module)
        found = installed(name)
        yield Check(name, found, "ok") if found else absent(name, "not installed", extra)


def absent(name: str, found: str, extra: str) -> Check:
    """Lines about an extra that is not installed: a problem only if training needs it."""
    from graphalign.extras import pip_line

    return Check(name, found, "FAIL" if extra == "train" and trains() else "optional", pip_line(extra))


def trains() -> bool:
    """Whether this environment is one to train in."""
    from graphalign.extras import installed

    return installed(TRAINER) is not None


def compute() -> Iterator[Check]:
    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield torch_release(torch.__version__)
    yield Check("device", ", ".join(devices) or "CPU only", "ok")
    yield Check("threads", f"{torch.get_num_threads()} of {os.cpu_count()} cores", "ok")


def torch_release(found: str) -> Check:
    """graphalign alone runs with an older torch than training does."""
    if tuple(map(int, re.findall(r"\d+", found)[:2])) >= TORCH:
        return Check("torch", found, "ok")
    oldest = ".".join(map(str, TORCH))
    check = absent("torch", f"{found}: too old to train, {oldest} is needed", "train")
    return check._replace(fix=f"pip install -U 'torch>={oldest}'")


def torchvision() -> Check:
    """ExGra needs none; one of another build, as PyPI's beside a CPU torch, breaks the processors of transformers."""
    try:
        found = version("torchvision")
    except PackageNotFoundError:
        return Check("torchvision", "not installed; ExGra does not use it", "ok")
    import torch

    try:
        import torchvision.ops  # noqa: F401
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        what = f"{found} does not fit torch {torch.__version__} ({reason}): transformers cannot open processors"
        return Check("torchvision", what, "FAIL", "pip uninstall -y torchvision")
    changed = f"{found}: AutoProcessor prepares images with it, and 0.1 to 0.4 % of the pixels differ by one grey level"
    return Check("torchvision", f'{changed}; ExGra uses Pillow, and AutoProcessor does with backend="pil"', "ok")


def assignment() -> Check:
    """`lap` and `lapx` are two packages with one import name; only the second is ours."""
    fix = "pip uninstall -y lap && pip install --force-reinstall --no-deps lapx"
    try:
        found = distribution("lapx").version
    except PackageNotFoundError:
        return Check("lapx", "not installed", "FAIL", "pip install lapx")
    try:
        distribution("lap")
    except PackageNotFoundError:
        return Check("lapx", found, "ok")
    return Check("lapx", "the package lap is installed too, under the same import name", "FAIL", fix)


def disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if not os.access(Path.cwd(), os.W_OK):
        return Check("this folder", "cannot be written", "FAIL", "go to another folder, or give --out to exgra train")
    if free < 1:
        return Check("this folder", f"{free:.1f} GB free", "FAIL", "free some space: a run writes up to 1 GB")
    return Check("this folder", f"writable, {free:.1f} GB free", "ok")


def embedded_data() -> Check:
    from medmllm.data.config import DataConfig
    from medmllm.errors import UserError

    if not trains():
        return absent("embedded data", "not checked", "train")
    from medmllm.data.sources import open_source

    try:
        source = open_source(DataConfig())
        rows = sum(len(source.records(split)) for split in source.splits)
    except UserError as error:
        return Check("embedded data", error.message, "FAIL", error.hint)
    return Check("embedded data", count_of(rows, "row"), "ok")

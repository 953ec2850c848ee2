"""Which packages are installed, how those of an optional extra are, and one that is imported with care."""

from __future__ import annotations

import importlib
import warnings
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType


def pip_line(extra: str) -> str:
    """Return the command that installs an extra, to be run in a clone.

    Args:
        extra: As `pyproject.toml` names it.

    Example:
        >>> from graphalign.extras import pip_line
        >>> pip_line("pot")
        "pip install -c constraints.txt -e '.[pot]'"
    """
    return f"pip install -c constraints.txt -e '.[{extra}]'"


def installed(name: str) -> str | None:
    """Return the version of an installed distribution, or None.

    Args:
        name: Of the distribution, as pip takes it.

    Example:
        >>> from graphalign.extras import installed
        >>> installed("torch") is None, installed("no-such-package")
        (False, None)
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def geometric(name: str) -> ModuleType:
    """Return a module of PyTorch Geometric, imported without the warnings of calls to torch that are its own.

    It calls `torch.jit.script` while it is imported, which torch 2.14 reports to every user.

    Args:
        name: Below `torch_geometric`.

    Example:
        >>> from graphalign.extras import geometric
        >>> geometric("nn").GCNConv(4, 4)
        GCNConv(4, 4)
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
        return importlib.import_module(f"torch_geometric.{name}")

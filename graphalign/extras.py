"""Which packages are installed, and how those of an optional extra are."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


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

"""How names are compared, and the nearest of those that are known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the nearest of the known names, with a space in front, or nothing."""
    near = nearest(name, known)
    return f" Did you mean {near!r}?" if near else ""


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the known name that is most like the given one, or "" where none is like it."""
    spelling = {plain(key): key for key in known}
    close = difflib.get_close_matches(plain(name), spelling, n=1, cutoff=cutoff)
    return spelling[close[0]] if close else ""


def plain(name: str) -> str:
    """Spelling-free form, so that what `repr` prints is a spec too."""
    return name.lower().replace("_", "")

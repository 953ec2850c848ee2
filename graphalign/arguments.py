"""Checks of the components' arguments, with one wording for all.

Example:
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Mine:
    ...     margin: float = 0.2
    ...     def __post_init__(self) -> None:
    ...         positive(self, "margin")
    >>> Mine(margin=-1)
    Traceback (most recent call last):
        ...
    ValueError: Mine: margin must be a finite number above 0, not -1.
"""

from __future__ import annotations

import sys
from typing import Any

# Compared with, as math.isfinite fails on whole numbers beyond it.
LARGEST = sys.float_info.max


def positive(component: Any, *names: str) -> None:
    """Raises ValueError unless the named fields are finite numbers above zero."""
    _check(component, names, "a finite number above 0", lambda x: 0 < x <= LARGEST)


def not_negative(component: Any, *names: str) -> None:
    """Raises ValueError unless the named fields are finite numbers of at least zero."""
    _check(component, names, "a finite number of at least 0", lambda x: 0 <= x <= LARGEST)


def count(component: Any, *names: str) -> None:
    """Raises ValueError unless the named fields are whole numbers of at least one."""
    _check(component, names, "a whole number of at least 1", lambda x: isinstance(x, int) and x >= 1)


def whole(component: Any, *names: str) -> None:
    """Raises ValueError unless the named fields are whole numbers of at least zero."""
    _check(component, names, "a whole number of at least 0", lambda x: isinstance(x, int) and x >= 0)


def finite(component: Any, *names: str) -> None:
    """Raises ValueError unless the named fields are finite numbers."""
    _check(component, names, "a finite number", lambda x: -LARGEST <= x <= LARGEST)


def flag(component: Any, *names: str) -> None:
    """Raises ValueError unless the named fields are True or False."""
    for name in names:
        value = getattr(component, name)
        if not isinstance(value, bool):
            raise ValueError(f"{type(component).__name__}: {name} must be True or False, not {value!r}.")


def choice(component: Any, name: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless the named field is one of `allowed`."""
    value = getattr(component, name)
    if value not in allowed:
        raise ValueError(f"{type(component).__name__}: {name} must be one of {', '.join(allowed)}, not {value!r}.")


def noise(component: Any, name: str) -> None:
    """Raises ValueError unless the named field can be sampled."""
    value = getattr(component, name)
    if isinstance(value, type) or not callable(getattr(value, "sample", None)):
        raise ValueError(f"{type(component).__name__}: {name} must be a noise, e.g. gumbel(0.2), not {value!r}.")


def function(component: Any, name: str, example: str) -> None:
    """Raises ValueError unless the named field can be called, or is None."""
    value = getattr(component, name)
    if isinstance(value, type) or not (value is None or callable(value)):
        raise ValueError(f"{type(component).__name__}: {name} must be callable, e.g. {example}, not {value!r}.")


def _check(component: Any, names: tuple[str, ...], needed: str, holds: Any) -> None:
    for name in names:
        value = getattr(component, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
            raise ValueError(f"{type(component).__name__}: {name} must be {needed}, not {value!r:.60}.")

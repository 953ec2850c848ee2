"""Checks of the components' arguments, with one wording for all.

Example:
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Mine:
    ...     margin: float = 0.2
    ...     def __post_init__(self) -> None:
    ...         check_positive(self, "margin")
    >>> Mine(margin=-1)
    Traceback (most recent call last):
        ...
    ValueError: Mine: margin must be a finite number above 0, not -1
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

# Compared with, as math.isfinite fails on whole numbers beyond it.
LARGEST = sys.float_info.max
# No count of samples, steps or bytes comes near it.
MANY = 10**12


def check_positive(component: Any, *names: str) -> None:
    """Raise ValueError unless the named fields are finite numbers above zero."""
    _check(component, names, "a finite number above 0", lambda x: 0 < x <= LARGEST)


def check_not_negative(component: Any, *names: str) -> None:
    """Raise ValueError unless the named fields are finite numbers of at least zero."""
    _check(component, names, "a finite number of at least 0", lambda x: 0 <= x <= LARGEST)


def check_share(component: Any, *names: str) -> None:
    """Raise ValueError unless the named fields are numbers above zero and at most one."""
    _check(component, names, "a number above 0 and at most 1", lambda x: 0 < x <= 1)


def check_count(component: Any, *names: str) -> None:
    """Raise ValueError unless the named fields are whole numbers from 1 to MANY."""
    _check(component, names, "a whole number of at least 1", lambda x: isinstance(x, int) and x >= 1)
    _check(component, names, f"a whole number of at most {MANY:,}", lambda x: x <= MANY)


def check_whole(component: Any, *names: str) -> None:
    """Raise ValueError unless the named fields are whole numbers from 0 to MANY."""
    _check(component, names, "a whole number of at least 0", lambda x: isinstance(x, int) and x >= 0)
    _check(component, names, f"a whole number of at most {MANY:,}", lambda x: x <= MANY)


def check_finite(component: Any, *names: str) -> None:
    """Raise ValueError unless the named fields are finite numbers."""
    _check(component, names, "a finite number", lambda x: -LARGEST <= x <= LARGEST)


def check_flag(component: Any, *names: str) -> None:
    """Raise ValueError unless the named fields are True or False."""
    for name in names:
        value = getattr(component, name)
        if not isinstance(value, bool):
            raise ValueError(f"{type(component).__name__}: {name} must be True or False, not {shown(value)}")


def check_choice(component: Any, name: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless the named field is one of `allowed`."""
    value = getattr(component, name)
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{type(component).__name__}: {name} must be one of {', '.join(allowed)}, not {shown(value)}")


def check_noise(component: Any, name: str) -> None:
    """Raise ValueError unless the named field can be sampled."""
    value = getattr(component, name)
    if isinstance(value, type) or not callable(getattr(value, "sample", None)):
        raise ValueError(f"{type(component).__name__}: {name} must be a noise, e.g. Gumbel(0.2), not {shown(value)}")


def check_callable(component: Any, name: str, example: str) -> None:
    """Raise ValueError unless the named field can be called, or is None."""
    value = getattr(component, name)
    if isinstance(value, type) or not (value is None or callable(value)):
        raise ValueError(f"{type(component).__name__}: {name} must be callable, e.g. {example}, not {shown(value)}")


def check_generator(given: Any) -> None:
    """Raise TypeError unless it is a `torch.Generator` or None."""
    if given is not None and not isinstance(given, Generator):
        raise TypeError(
            f"`generator` must be a torch.Generator, not {shown(given)}: write "
            f"generator=torch.Generator().manual_seed(0)"
        )


def check_tensor(what: str, x: object) -> None:
    """Raise TypeError unless it is a tensor."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{what} must be a torch.Tensor, not {type(x).__name__}, e.g. torch.as_tensor(...)")


def check_device(what: str, x: Tensor, device: torch.device, others: str) -> None:
    """Raise ValueError for a tensor on another device than that of the others; wait for neither."""
    if x.device != device:
        raise ValueError(f"{what} is on {x.device}, but {others} on {device}: move it, e.g. with .to({str(device)!r})")


def takes(function: Callable[..., Any], *args: str, **keywords: str) -> bool:
    """Say whether something can be called with such arguments; True where its signature cannot be known.

    Example:
        >>> takes(lambda x: x, "x"), takes(lambda x: x, "x", "edge_index")
        (True, False)
    """
    try:
        inspect.signature(function).bind(*args, **keywords)
    except TypeError:
        return False
    except ValueError:
        pass
    return True


def shown(value: Any) -> str:
    """Return a value in a few words, for an error: a tensor, or what holds tensors, is never printed.

    Example:
        >>> import torch
        >>> shown(torch.zeros(2, 3)), shown("jv"), shown(dict)
        ('a tensor of the shape (2, 3)', "'jv'", 'the class dict')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, Tensor):
        return f"a tensor of the shape {tuple(value.shape)}"
    if type(value).__name__ == "Problem":
        return "a Problem (settings come first, then the problem: Lap()(problem))"
    if type(value).__name__ in ("NodeEdge", "Solution"):
        return f"a {type(value).__name__}"
    return f"{value!r:.300}"


def _check(component: Any, names: tuple[str, ...], needed: str, holds: Any) -> None:
    for name in names:
        value = getattr(component, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
            raise ValueError(f"{type(component).__name__}: {name} must be {needed}, not {shown(value):.80}")

"""How functions of this package are compiled by numba. Importing this file imports numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function that only other compiled ones call."""
    return _jit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: F) -> F:
    """Writes a short function into each compiled one that calls it: on short rows calls cost a fifth of the time."""
    return _jit(function, inline="always")


def compiled_entry(function: F) -> F:
    """Compile a function that Python calls, into a cache on disk where there is a place for one.

    The cache looks at the file of this function alone: after a change of one that it calls from another file, clear it.
    """
    try:
        return _jit(function, cache=True)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return _jit(function)


def _jit(function: F, **options: Any) -> F:
    return numba.njit(nogil=True, error_model="numpy", **options)(function)  # type: ignore[no-any-return]

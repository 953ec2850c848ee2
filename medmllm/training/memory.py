"""How the C library treats freed memory."""

from __future__ import annotations

import ctypes
import os

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)
_LARGEST = 2**25  # the most that glibc takes for M_MMAP_THRESHOLD
_KEPT = 2**29


def keep_freed_memory() -> None:
    """Let this process keep up to half a GB of freed memory, where its C library is glibc.

    A step on a CPU frees what its pass allocated. glibc gives that back to the system, and the next step gets it again
    page by page: for the demo an eighth of the processor time. Settings of the user's own stay.
    """
    own = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
    library = ctypes.CDLL(None)
    if not any(name in os.environ for name in own) and hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_MMAP, _LARGEST)
        library.mallopt(_TRIM, _KEPT)

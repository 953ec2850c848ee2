"""Freed memory is kept by the process, unless the user has settings of his own."""

import ctypes

import pytest

from medmllm.training.memory import keep_freed_memory

OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


class Library:
    """A C library that records its calls."""

    gnu_get_libc_version = None

    def __init__(self, name):
        self.told = []

    def mallopt(self, option, value):
        self.told.append((option, value))


@pytest.mark.parametrize("own", [None, *OWN])
def test_settings_of_the_users_stay(monkeypatch, own):
    library = Library(None)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    for name in OWN:
        monkeypatch.delenv(name, raising=False)
    if own:
        monkeypatch.setenv(own, "1")
    keep_freed_memory()
    assert bool(library.told) == (own is None)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="not glibc")
def test_glibc_takes_both_thresholds(monkeypatch):
    """mallopt gives 1 for what it takes; a value over its limit it does not take."""
    found = []
    library = ctypes.CDLL(None)
    wrapped = type(
        "Wrapped", (), {"gnu_get_libc_version": None, "mallopt": lambda s, *o: found.append(library.mallopt(*o))}
    )
    monkeypatch.setattr(ctypes, "CDLL", lambda name: wrapped())
    for name in OWN:
        monkeypatch.delenv(name, raising=False)
    keep_freed_memory()
    assert found == [1, 1]

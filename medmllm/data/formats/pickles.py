"""Rows of PathVQA's pickles. A pickle can run any program, so only plain values are let through."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Iterator
from typing import Any

from medmllm.data.formats.reading import Reading

LARGEST = 2**28  # bytes; PathVQA's largest file has a few million
_HINT = "only lists of plain values are read from a pickle; save other data as JSON"


class _PlainValues(pickle.Unpickler):
    """Builds numbers, texts, lists and dictionaries, and nothing that has a class."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for an object kept elsewhere")


def check_pickle(content: bytes) -> None:
    """Refuse a memo number beyond the file's own length, which would only serve to fill the memory."""
    for operation, argument, place in pickletools.genops(content):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(str(argument)) > (place or 0):
            raise pickle.UnpicklingError(f"it numbers its values up to {argument}")


def pickle_rows(reading: Reading) -> Iterator[tuple[int, Any]]:
    """Rows of a pickled list, with `image` as a path below the data set's folder."""
    try:
        if reading.path.stat().st_size > LARGEST:
            raise pickle.UnpicklingError(f"it has more than {LARGEST:,} bytes")
        stored = reading.path.read_bytes()
        check_pickle(stored)
        content = _PlainValues(io.BytesIO(stored)).load()
    except Exception as cause:  # damaged pickles raise nearly anything
        reading.report(None, "", f"the pickle cannot be read ({cause})", _HINT)
        return
    if not isinstance(content, list):
        reading.report(None, "", "the pickle holds no list of rows", _HINT)
        return
    folder = reading.path.parent.name
    for number, row in enumerate(content, start=1):
        named = isinstance(row, dict) and isinstance(row.get("image"), str)
        yield number, row | {"image": f"images/{folder}/{row['image']}.jpg"} if named else row

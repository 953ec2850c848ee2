"""Numbered rows of JSON, JSON Lines and CSV files, read piece by piece: memory follows the longest row."""

from __future__ import annotations

import codecs
import csv
import json
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any, BinaryIO

from graphalign.counts import count_of
from medmllm.data.formats.columns import KNOWN, plain
from medmllm.data.formats.headless import holds_images, image_table_rows, list_rows
from medmllm.data.formats.questions import vqa_rows
from medmllm.data.formats.reading import Reading, Use, kind_of

LONGEST_ROW = 2**24  # characters; far above any conversation, far below what fills a memory
_PIECE = 2**20
_TOO_LONG = f"is longer than {LONGEST_ROW / 2**20:.0f} Mi characters"
_NOT_ROWS = "it needs a JSON list of rows; a file with one row a line has the ending .jsonl"
_SHOWN = 5  # keys of an object that a message names
SEPARATORS = (",", ";", "\t", "|")
Rows = Iterator[tuple[int, Any]]


class _TwiceError(ValueError):
    """A name that a row has twice, in words."""


class _Stop(Exception):
    """The rest of the file cannot be read: a message and its remedy."""


def text_rows(reading: Reading) -> Rows:
    """Rows of a text file by its ending; what keeps it from being read is reported, never raised."""
    readers = {".jsonl": _json_lines, ".csv": _csv, ".tsv": _csv, ".txt": list_rows}
    try:
        ending = reading.path.suffix.lower()
        read = readers.get(ending, _json_list)
        read = image_table_rows if ending == ".tsv" and holds_images(reading.path) else read
        read = _csv if ending == ".txt" and _has_head(reading.path) else read
        with reading.path.open("rb") as stream:
            yield from read(reading, stream)
    except _Stop as stop:
        reading.report(None, "", *stop.args)
    except OSError as cause:
        reading.report(
            None, "", f"the file cannot be read ({cause.strerror or cause})", "check the path and its permissions"
        )


def _json_lines(reading: Reading, stream: BinaryIO) -> Rows:
    number, empty = 0, True
    while line := stream.readline(LONGEST_ROW):
        number += 1
        if len(line) == LONGEST_ROW and not line.endswith(b"\n"):
            reading.report(number, "", f"the line {_TOO_LONG}", "each line of a .jsonl file is one JSON object")
            _skip_line(stream)
            continue
        if not line.strip():
            continue
        empty = False
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            row = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as cause:
            reading.report(number, "", f"the line is {_fault(cause)}", "each line of a .jsonl file is one JSON object")
        else:
            yield number, row
    if empty and not reading.problems:
        raise _Stop("the file is empty", "it needs one JSON object a line")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that is there twice, one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name in found if sum(name == other for other, _ in pairs) > 1)
        raise _TwiceError(f"the key {twice} is there twice")
    return found


def _skip_line(stream: BinaryIO) -> None:
    while (piece := stream.readline(_PIECE)) and not piece.endswith(b"\n"):
        pass


def _fault(cause: Exception) -> str:
    if isinstance(cause, UnicodeDecodeError):
        return f"not UTF-8 text (byte {cause.start})"
    if isinstance(cause, _TwiceError):
        return f"not clear ({cause})"
    return "not JSON (it is nested too deeply)" if isinstance(cause, RecursionError) else f"not JSON ({cause})"


class _Buffer:
    """Text of a stream, decoded piece by piece; what has been used is forgotten."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.text, self.place, self.bytes, self.ended = stream, "", 0, 0, False
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()

    def more(self) -> bool:
        """Read on; false at the end of the file."""
        piece = self.stream.read(max(_PIECE, len(self.text) - self.place))
        self.ended = not piece
        try:
            fresh = self._decoder.decode(piece, final=self.ended)
        except UnicodeDecodeError as cause:
            message = f"the file is not UTF-8 text (byte {self.bytes + cause.start})"
            raise _Stop(message, "save it as UTF-8") from cause
        self.bytes += len(piece)
        self.text, self.place = self.text[self.place :] + fresh, 0
        return not self.ended

    def peek(self) -> str:
        """The next character that is not white space; "" at the end of the file."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in " \t\r\n":
                self.place += 1
            if self.place < len(self.text) or not self.more():
                return self.text[self.place : self.place + 1]


def _json_list(reading: Reading, stream: BinaryIO) -> Rows:
    buffer = _Buffer(stream)
    first = buffer.peek()
    if not first:
        raise _Stop("the file is empty", "it needs a JSON list of rows")
    if first != "[":
        yield from _objects(reading, buffer)
        return
    buffer.place += 1
    number = 0
    while buffer.peek() != "]":
        number += 1
        yield number, _value(buffer, f" in row {number}")
        if buffer.peek() == ",":
            buffer.place += 1
            if buffer.peek() == "]":
                raise _Stop(f"the file is not JSON (a comma after row {number} is the last)", _NOT_ROWS)
        elif buffer.peek() != "]":
            raise _Stop(f"the file is not JSON (row {number} is not followed by a comma or ])", _NOT_ROWS)
    buffer.place += 1
    if buffer.peek():
        raise _Stop("the file is not JSON (something follows the list)", _NOT_ROWS)


def _value(buffer: _Buffer, where: str) -> Any:
    """The next value; reads on while it may be cut by the end of the piece."""
    decoder = JSONDecoder(object_pairs_hook=_once)
    while True:
        try:
            value, end = decoder.raw_decode(buffer.text, buffer.place)
            room = 12 if isinstance(value, (int, float)) else 0  # a number might continue in the next piece
            if end + room < len(buffer.text) or buffer.ended:
                buffer.place = end
                return value
        except RecursionError as cause:
            raise _Stop(f"the file is not JSON (it is nested too deeply{where})", _NOT_ROWS) from cause
        except JSONDecodeError as cause:
            cut = cause.msg.startswith("Unterminated string") or cause.pos > len(buffer.text) - 12
            if buffer.ended or not cut:
                raise _Stop(f"the file is not JSON ({cause.msg}{where})", _NOT_ROWS) from cause
        except _TwiceError as cause:
            raise _Stop(f"{cause}{where}", "keep one of the two") from cause
        except ValueError as cause:  # Python's guard against numbers of thousands of digits
            raise _Stop(f"a number has too many digits{where}", "store it as a text") from cause
        if len(buffer.text) - buffer.place > LONGEST_ROW:
            raise _Stop(f"a row {_TOO_LONG}{where}", "rows hold paths and texts; store images as files")
        buffer.more()


def _objects(reading: Reading, buffer: _Buffer) -> Rows:
    """Rows of a file that is not a list: one object after another, or VQA's questions and answers."""
    content = _value(buffer, "")
    if isinstance(content, dict) and buffer.peek() == "{":
        yield 1, content
        number = 1
        while buffer.peek():
            number += 1
            yield number, _value(buffer, f" in row {number}")
        return
    rows = vqa_rows(reading.path, content) if isinstance(content, dict) and not buffer.peek() else None
    if rows is None:
        raise _Stop(_other_top(content), _rows_of(reading.wanted.use))
    yield from rows


def _other_top(content: Any) -> str:
    """The top of a file that is not a list, and what it looks like."""
    keys = list(content) if isinstance(content, dict) else []
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    names = f" with the keys {', '.join(keys[:_SHOWN])[:200]}{more}" if keys else ""
    names = names.encode(errors="backslashreplace").decode()
    looks = "; this looks like boxes or outlines of objects (COCO)" if {"images", "annotations"} <= set(keys) else ""
    return f"the top level is {kind_of(content)}{names}, not a list of rows{looks}"


def _rows_of(use: Use) -> str:
    row = ", ".join(f'"{name}": ...' for name in use.columns)
    return f"the file must be a list of rows, [{{{row}}}, ...]; see {use.page}"


def _head(use: Use) -> str:
    *names, last = use.columns
    return f"name them {', '.join(names)} and {last}, separated by commas, semicolons, tabs or |; see {use.page}"


def _csv(reading: Reading, stream: BinaryIO) -> Rows:
    """Rows of a table with a head line; row 1 is the first below the head."""
    text, number = _decoded(stream), 0
    top = list(islice(text, 1))
    try:
        reading.delimiter = _delimiter(top, "\t" if reading.path.suffix.lower() == ".tsv" else ",")
        lines = csv.reader(chain(top, text), delimiter=reading.delimiter, strict=True)
        head = next(lines, None)
        if not head:
            raise _Stop("the file is empty", "it needs a head line with the names of its columns")
        if not KNOWN.intersection(map(plain, head)):
            raise _Stop(f"no column is known; the columns are {', '.join(head)[:200]}", _head(reading.wanted.use))
        twice = [name for name, count in Counter(name.strip() for name in head).items() if name and count > 1]
        if twice:
            raise _Stop(f"two columns are called {twice[0][:200]}", "rename one, or leave it out")
        for number, cells in enumerate(lines, start=1):
            if len(cells) not in (0, len(head)):
                message = f"has {count_of(len(cells), 'cell')} where the head has {len(head)}"
                reading.report(number, "", message, "quote cells that hold a separator or a line break")
            elif cells:
                yield number, {name.strip(): cell for name, cell in zip(head, cells, strict=True)}
    except csv.Error as cause:
        raise _Stop(f"the table cannot be read after row {number} ({cause})", "save it as plain CSV") from cause


def _has_head(path: Path) -> bool:
    """Whether the first line of a list names known columns, and nothing else."""
    with path.open("rb") as stream:
        top = stream.readline(2**12).decode("utf-8-sig", errors="replace").strip()
    heads = [[plain(name) for name in top.split(separator)] for separator in SEPARATORS]
    return any(len(names) > 1 and KNOWN.issuperset(names) for names in heads)


def _delimiter(top: list[str], usual: str) -> str:
    """What separates the columns of the top line; the usual one unless another gives more columns that are known."""

    def known(delimiter: str) -> int:
        names = next(csv.reader(top, delimiter=delimiter), [])
        return sum(plain(name) in KNOWN for name in names)

    return max((usual, *SEPARATORS), key=known)


def _decoded(stream: BinaryIO) -> Iterator[str]:
    number = 0
    while line := stream.readline(LONGEST_ROW):
        number += 1
        if len(line) == LONGEST_ROW and not line.endswith(b"\n"):
            raise _Stop(f"line {number} {_TOO_LONG}", "save it as plain CSV")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as cause:
            raise _Stop(f"the file is not UTF-8 text (line {number})", "save it as UTF-8") from cause

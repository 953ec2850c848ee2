"""Extending a whole data file: what is to do, doing it in threads, and the file with `conversations_long`."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from medmllm.data.captions.journal import Journal, journal, row_key
from medmllm.data.captions.private import refuse_private
from medmllm.data.captions.writers import SYSTEM, EndpointWriter, Writer, messages
from medmllm.data.cutting import moved_image, sound
from medmllm.data.formats import Reading
from medmllm.data.formats.registry import LLAVA, raw_rows
from medmllm.data.formats.spellings import with_marks
from medmllm.data.records import Record
from medmllm.endpoint import RefusedError, TransientError
from medmllm.errors import ConfigError, RunError
from medmllm.run.aside import written_aside

_CHARACTERS = 4  # of a token, about, in English
_WRITTEN = 100  # tokens of an extended answer, about
_HOPELESS = 20  # refusals in a row after which the others are not tried
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Estimate:
    """The rows that are still to be written.

    Attributes:
        rows: of the file.
        have: rows that have extended answers already, and keep them.
        done: rows finished by an earlier run.
        todo: rows left: as many requests, if none must be repeated.
        tokens_in, tokens_out: of these requests, at four characters a token and 100 tokens an answer.
        cost: of these tokens, in the currency of the prices; None without prices.
    """

    rows: int
    have: int
    done: int
    todo: int
    tokens_in: int
    tokens_out: int
    cost: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        written: rows that got extended answers in this run.
        failed: `(id, reason)` of rows that have none.
        file: the data file with all of them; None while rows are missing.
    """

    written: int
    failed: tuple[tuple[str, str], ...]
    file: Path | None

    def to_dict(self) -> dict[str, Any]:
        return {"written": self.written, "failed": [list(pair) for pair in self.failed], "file": str(self.file or "")}


@dataclass(frozen=True)
class Job:
    """A data file to extend, and where to.

    Attributes:
        reading: the file.
        out: file to make.
        writer: writes the answers.
    """

    reading: Reading
    out: Path
    writer: Writer

    @property
    def progress(self) -> Path:
        """The journal beside the file to make; it is kept."""
        return self.out.with_name(self.out.name + ".progress.jsonl")

    def todo(self, done: dict[str, list[str]]) -> list[Record]:
        """Rows without extended answers that no earlier run has finished."""
        return [r for r in self.reading.records if not has_caption(r) and row_key(r, self.writer.name) not in done]


def open_job(path: Path, out: Path, writer: Writer, *, allow_outside: bool = False) -> Job:
    """Check everything that can be checked before anything is sent.

    Raises:
        DataError: the file has problems.
        ConfigError: the data is private and would be sent, or `out` cannot be made.
    """
    if out.suffix.lower() not in (".json", ".jsonl"):
        raise ConfigError(f"{out.name} must end with .json or .jsonl", hint=f"{out.stem}.json")
    if out.exists():
        raise ConfigError(f"{out} exists already", hint="choose another name")
    if not out.parent.is_dir():
        raise ConfigError(f"the folder {out.parent} does not exist", hint=f"mkdir -p {out.parent}")
    reading = sound(path, allow_outside)
    if reading.content is not None:
        raise ConfigError("a file that holds its images cannot be written as JSON", hint="store the images as files")
    if isinstance(writer, EndpointWriter):
        refuse_private(path, reading)
    return Job(reading, out, writer)


def estimate_cost(job: Job, price_in: float | None = None, price_out: float | None = None) -> Estimate:
    """The rows to write and their cost; nothing is sent.

    Args:
        job: what to extend.
        price_in, price_out: of a million tokens read and written.
    """
    done: dict[str, list[str]] = {}
    if job.progress.exists():
        with journal(job.progress) as file:
            done = file.done
    todo, have = job.todo(done), sum(map(has_caption, job.reading.records))
    characters = sum(len(SYSTEM) + len(messages(record)[1]["content"]) for record in todo)
    tokens_in, tokens_out = characters // _CHARACTERS, _WRITTEN * sum(len(record.turns) for record in todo)
    cost = None
    if price_in is not None and price_out is not None:
        cost = round((tokens_in * price_in + tokens_out * price_out) / 1e6, 4)
    rows = len(job.reading.records)
    return Estimate(rows, have, rows - have - len(todo), len(todo), tokens_in, tokens_out, cost)


def run_job(
    job: Job, *, workers: int = 4, partial: bool = False, on_progress: Callable[[int, int], None] | None = None
) -> Outcome:
    """Extend every row that needs it, and write the file once all have what they need.

    Each finished row is on the disk before it counts. After a kill, the same call continues where it stopped.

    Args:
        job: what to extend.
        workers: requests at once.
        partial: write the file although rows have failed; they stay without `conversations_long`.
        on_progress: called with rows done and rows to do.

    Raises:
        RunError: no request will succeed; what is done is kept.
    """
    failed: list[tuple[str, str]] = []
    with journal(job.progress) as file:
        todo = job.todo(file.done)
        for number, (record, found) in enumerate(in_threads(job.writer.write, todo, workers), start=1):
            if isinstance(found, (RefusedError, TransientError)):
                failed.append((record.id, str(found)))
                _check_hope(failed, number)
            elif isinstance(found, BaseException):
                raise found
            else:
                file.add(row_key(record, job.writer.name), record, found, job.writer.name)
            if on_progress is not None:
                on_progress(number, len(todo))
        complete = not failed or partial
        if complete:
            write_merged(job, file)
    return Outcome(len(todo) - len(failed), tuple(failed), job.out if complete else None)


def _check_hope(failed: Sequence[tuple[str, str]], tried: int) -> None:
    if len(failed) == tried >= _HOPELESS:
        raise RunError(f"the first {tried} rows have all failed, the last one with: {failed[-1][1]}")


def in_threads(work: Callable[[S], T], items: Sequence[S], workers: int) -> Iterator[tuple[S, T | Exception]]:
    """Items with results or exceptions, as they come; leaving the loop early leaves what is not begun undone."""
    waiting: queue.SimpleQueue[S] = queue.SimpleQueue()
    ready: queue.SimpleQueue[tuple[S, T | Exception]] = queue.SimpleQueue()
    stop = threading.Event()
    for item in items:
        waiting.put(item)

    def serve() -> None:
        while not stop.is_set():
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                ready.put((item, work(item)))
            except Exception as error:
                ready.put((item, error))

    for _ in range(min(workers, len(items))):
        threading.Thread(target=serve, daemon=True).start()  # a slow answer must not keep the program from ending
    try:
        for _ in items:
            yield ready.get()
    finally:
        stop.set()


def has_caption(record: Record) -> bool:
    """Whether a row came with extended answers."""
    return record.caption != record.sentence


def write_merged(job: Job, done: Journal) -> None:
    """Write the data file with `conversations_long`, whole or not at all; rows keep all their other fields."""
    records = {job.reading.rows[record.id]: record for record in job.reading.records}
    with written_aside(job.out) as part, part.open("w", encoding="utf-8") as file:
        rows = (json.dumps(row, ensure_ascii=False) for row in _merged(job, done, records))
        if job.out.suffix.lower() == ".jsonl":
            file.writelines(row + "\n" for row in rows)
        else:
            file.writelines(("[\n" if number == 0 else ",\n") + row for number, row in enumerate(rows))
            file.write("\n]\n")
        file.flush()
        os.fsync(file.fileno())


def _merged(job: Job, done: Journal, records: dict[int, Record]) -> Iterator[dict[str, Any]]:
    for number, row in raw_rows(Reading(job.reading.path, job.reading.folder)):
        record = records.get(number)
        if record is None:  # a row in another language, which is not read
            continue
        own = row if job.reading.format == LLAVA else as_conversation(record)
        answers = done.done.get(row_key(record, job.writer.name))
        if answers is not None and not has_caption(record):
            own = own | {"conversations_long": conversation(record, answers)}
        yield moved_image(own, job.reading, job.out)


def as_conversation(record: Record) -> dict[str, Any]:
    """A flat row as LLaVA writes it."""
    shown: dict[str, Any] = {"image": record.image} if len(record.images) == 1 else {"images": list(record.images)}
    row: dict[str, Any] = {"id": record.id, **shown, "answer_type": record.kind.upper()}
    row |= {"subject": record.subject} if record.subject != record.image else {}
    row |= {"modality": record.modality} if record.modality else {}
    row |= {"split": record.split, "conversations": conversation(record, [answer for _, answer in record.turns])}
    return row | ({"conversations_long": conversation(record, [record.caption])} if has_caption(record) else {})


def conversation(record: Record, answers: Sequence[str]) -> list[dict[str, str]]:
    """The record's questions with other answers."""
    turns, places = [], record.marks or ((0, 0),) * len(record.images)
    for number, ((question, _), answer) in enumerate(zip(record.turns, answers, strict=True)):
        value = with_marks(question, [letter for turn, letter in places if turn == number])
        turns += [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]
    return turns

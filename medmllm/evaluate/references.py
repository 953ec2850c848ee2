"""Questions with true answers: which of a file's rows are asked, and those rows as items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from medmllm.data.cache import remembered
from medmllm.data.catalog import INSIDE, NAMES
from medmllm.data.config import DataConfig
from medmllm.data.formats import Use, Wanted, raise_all, read_data
from medmllm.data.formats.registry import testing_is_named
from medmllm.data.sources import check_source, open_source
from medmllm.errors import ConfigError, DataError
from medmllm.evaluate.items import Item

ALL, TEST = "all", "test"


@dataclass(frozen=True)
class References:
    """The rows of a data file or folder, in its order.

    Attributes:
        path: the file or folder.
        items: questions with true answers.
        splits: split of each; "test" where neither row nor file says one.
        published: whether the data itself says which rows are for testing, which are asked unless others are wanted.
        warnings: what was put right or left out.
    """

    path: Path
    items: tuple[Item, ...]
    splits: tuple[str, ...]
    published: bool
    warnings: tuple[str, ...]

    def asked(self, split: str | None = None, answered: Collection[str] = ()) -> list[Item]:
        """The questions of a split, or of "all".

        Without a split, those of testing where the data itself says which those are. Else all; of rows that name their
        splits, those of the splits of which anything is answered.

        Raises:
            ConfigError: no row is of the split.
        """
        chosen = self._chosen(split, answered)
        found = [item for item, own in zip(self.items, self.splits, strict=True) if own in chosen]
        if not found:
            sizes = ", ".join(f"{name} {count}" for name, count in Counter(self.splits).items())
            hint = f"--split all; the data has {sizes}"
            raise ConfigError(f"no row is of the split {split!r}", where=str(self.path), hint=hint)
        return found

    def _chosen(self, split: str | None, answered: Collection[str]) -> set[str]:
        own = set(self.splits)
        if split is not None:
            return own if split == ALL else {split}
        if self.published:
            return {TEST}
        ids = set(answered)
        return {own for item, own in zip(self.items, self.splits, strict=True) if item.id in ids} or own

    def line(self, asked: Collection[Item]) -> str:
        """The remark that not all rows are asked; "" where all are."""
        if len(asked) == len(self.items):
            return ""
        ids = {id(item) for item in asked}
        chosen = Counter(own for item, own in zip(self.items, self.splits, strict=True) if id(item) in ids)
        names = " and ".join(chosen)
        return f"{self.path}: {len(asked)} of {len(self.items)} rows are asked, those of {names}; --split all asks all"


def open_references(path: Path, *, language: str = "en") -> References:
    """Read any file or folder that can be trained on, and rows without an image or a question too.

    A row without an id has its number, as in `exgra predict`.

    Args:
        path: a data file or folder, or a name of `exgra data list`.
        language: of the rows of a published set that has several, or "all".

    Raises:
        DataError: nothing is there, a row has no answer, or an id stands twice; all problems are reported.
    """
    name = str(path)
    check_source(name)
    if name in INSIDE:
        return _inside(path)
    path = Path(remembered()[name]["path"]) if name in NAMES else path.expanduser()
    readings = read_data(path, wanted=Wanted(Use.SCORE, language=language, unnamed=TEST))
    raise_all([problem for reading in readings for problem in reading.problems])
    records = [record for reading in readings for record in reading.records]
    if not records:
        raise DataError("the file has no rows", where=str(path), hint="it needs at least one question with its answer")
    return References(
        path,
        tuple(Item.of(record, "") for record in records),
        tuple(record.split for record in records),
        testing_is_named(path, readings),
        tuple(line for reading in readings for line in reading.warnings),
    )


def _inside(path: Path) -> References:
    """The questions of a set that is inside the package or made here."""
    source = open_source(DataConfig(source=str(path)))
    records = [record for split in source.splits for record in source.records(split)]
    items = tuple(Item.of(record, "") for record in records)
    return References(path, items, tuple(record.split for record in records), True, source.warnings)


def read_references(path: Path, *, split: str | None = None, language: str = "en") -> list[Item]:
    """Questions with true answers, in the order of the file; see `References.asked` for which.

    Raises:
        DataError: the file cannot be used; all problems are reported.
        ConfigError: no row is of the split.
    """
    return open_references(path, language=language).asked(split)

"""An exam: a model and the questions that it is asked, whose answers survive a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import LlavaForConditionalGeneration

from medmllm.data.config import DataConfig
from medmllm.data.guessing import Majority, majority_answers
from medmllm.data.records import Record, each_image
from medmllm.data.scans.window import AUTO
from medmllm.data.sources import FileSource, Source, check_source, open_source, usable
from medmllm.data.subset import fair_order, rank
from medmllm.errors import DataError
from medmllm.evaluate.answer_file import AnswerFile
from medmllm.evaluate.generate import Asker, answer_batches
from medmllm.evaluate.loading import answer_length, check_model, identity, load_model, model_folder, own_config
from medmllm.evaluate.scan_window import any_scan, check_window, own_window, window_line
from medmllm.evaluate.scores import Sample
from medmllm.run.callbacks import Listener
from medmllm.run.folder import RunFolder
from medmllm.settings.schema import Config

SILENT = Listener()
EMBEDDED = "the embedded data set"  # what a model without data of its own is asked
DRAW = "exgra questions"  # what the draw of questions depends on, beside their names


@dataclass(frozen=True)
class Asked:
    """The questions for a model, and how they are asked.

    Attributes:
        split: split of the data set.
        limit: so many records, drawn by person and kind; None asks all.
        source: another data set than the run's own: its rows of the split where it says which those are, else all.
        allow_outside: let image paths of `source` leave its folder.
        language: of the rows of SLAKE, as `data.language`; that of the run's data where None.
        batch_size: questions at once; the run's own setting where None.
        max_new_tokens: longest answer; the run's own setting where None.
        device: where the model answers.
        window: in which scans are shown; as in training where None.
    """

    split: str = "test"
    limit: int | None = None
    source: str | None = None
    allow_outside: bool = False
    language: str | None = None
    batch_size: int | None = None
    max_new_tokens: int | None = None
    device: str = "auto"
    window: str | None = None

    @property
    def name(self) -> str:
        """Of the files with results: it tells what differs from a run's own test, so that none replaces that."""
        asked = self.split if self.source is None else f"data_{Path(self.source).stem}"
        asked = asked if self.language is None else f"{asked}_{self.language}"
        asked = asked if self.limit is None else f"{asked}_limit{self.limit}"
        return asked if self.window is None else f"{asked}_window_{self.window.replace('/', '_')}"


@dataclass(frozen=True)
class Exam:
    """A loaded model with its questions.

    Attributes:
        asked: what was wanted.
        model: name of the model.
        identity: mark of its weights.
        llava, asker: the model, and what turns records into its inputs.
        source: opens images.
        records: the questions.
        majority: what training would guess; None where the training data is not known.
        batch_size, max_new_tokens: settings in use.
        window: in which scans are shown.
        place: folder whose `eval/` takes answers and scores; None keeps nothing.
        is_run: whether the model is that of a run, which has data of its own.
    """

    asked: Asked
    model: str
    identity: str
    llava: LlavaForConditionalGeneration
    asker: Asker
    source: Source
    records: Sequence[Record]
    majority: Majority | None
    batch_size: int
    max_new_tokens: int
    window: str
    place: RunFolder | None
    is_run: bool = True

    @property
    def data(self) -> str:
        """Whose questions are asked."""
        if self.asked.source is not None:
            return self.asked.source
        return "the run's own data" if self.is_run else EMBEDDED

    @classmethod
    def open(cls, run: Path | str, asked: Asked, *, out: Path | None = None, listener: Listener = SILENT) -> Exam:
        """Load a run's model, or a saved one by folder or hub id.

        Args:
            run: a run's folder, a folder that `save_pretrained` wrote, or an id on the hub.
            asked: the questions.
            out: where results go; a run's own folder where None.
            listener: hears in which window scans are shown.
        """
        check_window(asked.window)
        own, folder, config = own_window(Path(run)), model_folder(Path(run)), own_config(Path(run))
        window = asked.window or own or AUTO
        config = config.model_copy(update={"data": config.data.model_copy(update={"window": window})})
        is_run = folder != Path(run)
        if asked.source is not None:
            check_source(asked.source)  # before a model is downloaded for it
        name = folder if folder.is_dir() else str(run)
        check_model(name)  # before any data is read
        if not is_run and asked.source is None:
            listener.message(f"no --data given: the questions are those of {EMBEDDED}, not yours")
        data, majority = _data(config, asked, is_run)
        records = drawn(_records(data, asked.split, config), asked.limit)
        if isinstance(data, FileSource) and any_scan(_paths(data, records)):
            listener.message(window_line(asked.window, own))
        llava, asker = load_model(name, data, device=asked.device)
        place = out or (Path(run) if is_run else None)
        return cls(
            asked=asked,
            model=Path(run).name,
            identity=identity(name),
            llava=llava,
            asker=asker,
            source=data,
            records=records,
            majority=majority,
            batch_size=asked.batch_size or config.eval.batch_size,
            max_new_tokens=asked.max_new_tokens or answer_length(Path(run), name),
            window=window,
            place=None if place is None else _folder(place),
            is_run=is_run,
        )

    def answer(self, name: str | None = None, asker: Asker | None = None, listener: Listener = SILENT) -> list[Sample]:
        """Every record with the model's answer.

        With a `place`, answers are appended to `eval/<name>.part.jsonl` batch by batch, and a later call continues from
        there; the caller removes the file (`done`) once the results are written.

        Args:
            name: of the file.
            asker: another one than the exam's own, for example with other images.
            listener: hears how it goes.
        """
        file = self.file(name or self.asked.name)
        texts = file.resume() if file else []
        batches = answer_batches(
            self.llava,
            asker or self.asker,
            self.records[len(texts) :],
            batch_size=self.batch_size,
            max_new_tokens=self.max_new_tokens,
        )
        for batch in batches:
            if file:
                file.append(len(texts), batch)
            texts += batch
            listener.answered(len(texts), len(self.records))
        return [Sample(record, text) for record, text in zip(self.records, texts, strict=True)]

    def done(self, name: str | None = None) -> None:
        """Remove the file of answers, after the results have been written."""
        file = self.file(name or self.asked.name)
        if file:
            file.path.unlink(missing_ok=True)

    def file(self, name: str) -> AnswerFile | None:
        """Where answers of this name grow; None where nothing is kept."""
        if self.place is None:
            return None
        path = self.place.path / "eval" / f"{name}.part.jsonl"
        asked = repr((self.identity, self.max_new_tokens, str(self.llava.dtype), self.window))
        return AnswerFile(path, self.records, self.batch_size, self.model, asked)


def drawn(records: Sequence[Record], limit: int | None) -> Sequence[Record]:
    """All records, or `limit` of them in their order: the same in every run, each kind in proportion, of many people.

    In each kind people come in a random order that depends on names alone, and nobody is asked twice before all are
    asked once. A smaller draw is part of a larger one.
    """
    if limit is None or limit >= len(records):
        return records
    turns: Counter[tuple[str, str]] = Counter()
    place = {}
    for record in sorted(records, key=lambda record: rank(DRAW, f"{record.id}\n{record.image}")):
        turns[record.kind, record.person] += 1
        person = rank(DRAW, f"{record.kind}\n{record.person}")
        place[id(record)] = (turns[record.kind, record.person], person, rank(DRAW, record.id))
    kinds: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: place[id(record)]):
        kinds.setdefault(record.kind, []).append(record)
    order = fair_order({kind: len(found) for kind, found in kinds.items()}, DRAW)[:limit]
    chosen = {id(record) for kind, count in Counter(order).items() for record in kinds[kind][:count]}
    return [record for record in records if id(record) in chosen]


def _data(config: Config, asked: Asked, is_run: bool) -> tuple[Source, Majority | None]:
    """The data that is asked, and what the training data of a run would guess."""
    known = is_run or asked.source is None
    data = config.data if asked.language is None else config.data.model_copy(update={"language": asked.language})
    own = open_source(data) if known else None
    majority = None if own is None else majority_answers(own.records("train"))
    if own is not None and asked.source is None:
        return own, majority
    return _other_data(config, asked), majority


def _other_data(config: Config, asked: Asked) -> Source:
    """Another data set than the run's: where its files say which rows are of the split, those, else all of them."""
    own = config.data
    others: dict[str, Any] = {"window": own.window, "on_bad_sample": own.on_bad_sample}
    others |= {"allow_outside": asked.allow_outside}
    if own.volume == "sample":  # what the model was trained to see together
        others |= {"slices": own.slices, "volume": own.volume, "positions": own.positions}
    language = asked.language or config.data.language
    found = open_source(DataConfig(source=str(asked.source), language=language, **others), trained=False)
    if isinstance(found, FileSource) and asked.split not in found.own:
        hint = f"--split {found.own[0]}" if found.own else "exgra data validate says what is wrong"
        raise DataError(f"no row is of the split {asked.split!r}", where=str(asked.source), hint=hint)
    return found


def _paths(data: FileSource, records: Sequence[Record]) -> Iterator[tuple[str, Path]]:
    """Name and path of each image that has a file of its own."""
    for record in each_image(records):
        if isinstance(path := data.content(record), Path):
            yield record.image, path


def _records(data: Source, split: str, config: Config) -> Sequence[Record]:
    """The records of a split; where the run left bad images out, they are left out here too."""
    records = data.records(split)
    return records if config.data.on_bad_sample == "error" else usable(data, records)[0]


def _folder(path: Path) -> RunFolder:
    (path / "eval").mkdir(parents=True, exist_ok=True)
    return RunFolder(path)

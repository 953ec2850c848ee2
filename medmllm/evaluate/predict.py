"""Answers to questions that nobody has answered, into a file that grows as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medmllm.data.scans.window import AUTO
from medmllm.data.slicing import Slices
from medmllm.evaluate.answer_file import AnswerFile
from medmllm.evaluate.exam import SILENT
from medmllm.evaluate.generate import answer_batches
from medmllm.evaluate.loading import answer_length, check_model, identity, load_model, model_folder, own_config
from medmllm.evaluate.scan_window import any_scan, check_window, own_window, window_line
from medmllm.evaluate.unanswered import (
    FolderImages,
    SourceImages,
    about_images,
    is_source,
    read_questions,
    read_source,
    readable,
    with_slices,
)
from medmllm.run.callbacks import Listener

NOTICE = "Research software, not a medical device: no answer may be used for a clinical decision."


@dataclass(frozen=True)
class Settings:
    """How a model answers, and which rows of a file; the run's own settings where None.

    Attributes:
        batch_size, max_new_tokens, device: as in `medmllm.evaluate.exam.Asked`.
        window: in which scans are shown.
        split, language: which rows, as `medmllm.evaluate.unanswered.read_questions` takes them.
    """

    batch_size: int | None = None
    max_new_tokens: int | None = None
    device: str = "auto"
    window: str | None = None
    split: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class Predicted:
    """What `predict_file` did.

    Attributes:
        answers: how many answers the file has.
        skipped: which files were left out, each with why.
        answered: whether every question came with its true answer.
    """

    answers: int
    skipped: tuple[str, ...] = ()
    answered: bool = False


def predict_file(
    model: Path | str,
    path: Path | Sequence[str],
    out: Path,
    *,
    question: str | None = None,
    settings: Settings | None = None,
    allow_outside: bool = False,
    listener: Listener = SILENT,
) -> Predicted:
    """Answers every question of `path` into `out`, in the form of LLaVA's answer files.

    A file that an earlier attempt has begun is continued; one of another model, of other settings or other questions is
    refused. In a folder every file without a leading dot is tried; files that are not images are left out and reported.
    """
    settings = settings or Settings()
    name = model_folder(Path(model)) if Path(model).is_dir() else model
    check_model(name)
    check_window(settings.window)
    own, config = own_window(Path(model)), own_config(Path(model)).eval
    window = settings.window or own or AUTO
    images: FolderImages | SourceImages
    if not isinstance(path, Path):
        shown, records = about_images(path, question)
        images = replace(shown, window=window)
    elif is_source(path):
        images, records = read_source(path, settings.split, settings.language or "en", window)
    else:
        found, records = read_questions(
            path,
            question,
            allow_outside=allow_outside,
            split=settings.split,
            language=settings.language or "en",
            on_warning=lambda line: listener.message(f"warning: {line}"),
        )
        images = replace(found, window=window)
    skipped: list[str] = []
    if isinstance(images, FolderImages):
        own_data = own_config(Path(model)).data
        records = with_slices(images, records, Slices(own_data.slices, own_data.volume, own_data.positions))
    if isinstance(images, FolderImages) and isinstance(path, Path) and path.is_dir() and not images.readings:
        records, skipped = readable(images, [one for one in records if (path / one.image).resolve() != out.resolve()])
        for line in skipped:
            listener.message(f"left out: {line}")
    if any_scan(images.paths(records)):
        listener.message(window_line(settings.window, own))
    batch, longest = (
        settings.batch_size or config.batch_size,
        settings.max_new_tokens or answer_length(Path(model), name),
    )
    file = AnswerFile(out, records, batch, Path(model).name, repr((identity(name), longest, images.window)))
    count = len(file.resume())
    done = Predicted(len(records), tuple(skipped), all(record.answer for record in records))
    if count == len(records):
        return done
    listener.message(NOTICE)
    llava, asker = load_model(name, images, device=settings.device)
    for texts in answer_batches(llava, asker, records[count:], batch_size=batch, max_new_tokens=longest):
        file.append(count, texts)
        count += len(texts)
        listener.answered(count, len(records))
    return done

"""Recognise, by its columns, a file that cannot be read as it is: one sentence in place of faults in every row."""

from __future__ import annotations

from collections.abc import Collection

from medmllm.data.formats.columns import Columns, plain
from medmllm.data.formats.reading import Use

# Beside `text`, each says that the text is not a caption of the image.
_NOT_A_CAPTION = (
    "question_id",
    "category",
    "prompt",
    "query",
    "instruction",
    "answer_id",
    "model_id",
    "label",
    "labels",
)
_REPORTS = ("report", "findings", "impression", "description")
_KINDS = (  # columns that tell, what the file then looks like, and what to do
    ({"answer_id", "model_id"}, "a file of answers", "score it with exgra eval --references FILE --predictions"),
    ({"prediction"}, "a file of answers", "score it with exgra eval --references FILE --predictions"),
    ({"bbox"}, "boxes of objects", "write a question and an answer about each image"),
    ({"segmentation"}, "outlines of objects", "write a question and an answer about each image"),
    ({"mask"}, "images with masks", "write a question and an answer about each image"),
    ({"label"}, "labels of a classification", "write a question and an answer about each image, as in `answer`"),
    ({"labels"}, "labels of a classification", "write a question and an answer about each image, as in `answer`"),
    ({"pair_id", "pmc_tar_url"}, "LLaVA-Med's list of image addresses", "give the file of conversations beside it"),
    ({"url"}, "a list of addresses", "download the images, and name their files in `image`"),
    ({"answer_idx"}, "multiple choice without images", "a row needs an image"),
    ({"instruction"}, "instructions without images", "a row needs an image"),
    ({"query"}, "conversations without images", "a row needs an image"),
)


def is_caption(columns: Collection[str]) -> bool:
    """Whether the column `text` of such a row may be a caption: nothing beside it says that it is something else."""
    return {plain(name) for name in columns}.isdisjoint(map(plain, _NOT_A_CAPTION))


def report_columns(columns: Collection[str]) -> list[str]:
    """Columns that may hold a description of the image: of a report, its findings or its impression."""
    known = set(map(plain, _REPORTS))
    return [name for name in columns if plain(name) in known]


def fault_of(names: Collection[str], columns: Columns, use: Use) -> tuple[str, str] | None:
    """The fault of a table that lacks a whole column, and the remedy; None where it has all that it needs.

    Args:
        names: the columns of its rows.
        columns: names that its fields may have.
        use: what the rows are for.
    """
    own = {plain(name) for name in names}

    def has(fields: tuple[str, ...]) -> bool:
        return not own.isdisjoint(map(plain, fields))

    texts = has(columns.answer) or has(tuple(name for name in columns.caption if name != "text"))
    texts = texts or ("text" in own and is_caption(names))
    asks = has(columns.question) or "text" in own
    if use is Use.ASK:
        lacking = [] if has(columns.image) else ["an image"]
    elif not texts and asks and not own & {"answerid", "modelid", "prediction"}:
        what = "these are questions without answers"
        needed = "to train on, rows need `answer`" if use is Use.TRAIN else "references need `answer`"
        return what, f"exgra predict RUN FILE answers them; {needed}, and the columns are {', '.join(map(str, names))}"
    else:
        lacking = ["an image"] if "image" in use.value and not has(columns.image) else []
        lacking += [] if texts else ["an answer or a caption"]
    if not lacking:
        return None
    like, remedy = next(
        ((like, remedy) for told, like, remedy in _KINDS if set(map(plain, told)) <= own),
        ("", f"name the columns {', '.join(use.columns[:-1])} and {use.columns[-1]}; see {use.page}"),
    )
    if reports := report_columns(names):
        remedy = f"to describe the images by {' or '.join(reports)}, call that column caption"
    shown = ", ".join(list(map(str, names))[:12])
    guess = f"; this looks like {like}" if like else ""
    return f"no column holds {' or '.join(lacking)}; the columns are {shown}{guess}", remedy

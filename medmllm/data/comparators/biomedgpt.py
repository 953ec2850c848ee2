"""BiomedGPT's tables: a question a line, without a head line, cells separated by tabs, the image in base64 in the last.

question id <tab> image id <tab> question <tab> 1|!+answer <tab> objects <tab> image

Its loader splits lines at tabs and answers at `&&` and `|!+`, and knows neither quotes nor escapes. It reads the
columns 0,5,2,3,4, its evaluation turns ids into whole numbers, and `trainval_ans2label.pkl` lists the answers to choose
from.

References:
    Zhang et al., "A generalist vision-language foundation model for diverse biomedical tasks", Nature Medicine 2024;
    https://github.com/taokz/BiomedGPT: data/file_dataset.py, data/mm_data/vqa_gen_dataset.py,
    scripts/preprocess/finetuning/slake.py.
"""

from __future__ import annotations

import base64
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

from graphalign.counts import count_of
from medmllm.data.comparators.questions import QUESTIONS, Question, one_line
from medmllm.errors import DataError

CHOSEN_FROM = "trainval_ans2label.pkl"
_NAMES = {"validation": "val"}  # what its scripts call a split
_MARKS = ("&&", "|!+")


def write_biomedgpt(out: Path, splits: Mapping[str, Sequence[Question]], home: Path) -> list[str]:
    """Write a table for each split, and the answers to choose from where there are rows to train on.

    Args:
        out: the folder; its folder of questions holds the images.
        splits: questions by split.
        home: where the folder will be; these tables do not name it.

    Returns:
        Warnings: changes to texts and images, one line each.

    Raises:
        DataError: an answer holds a mark at which BiomedGPT would split it.
    """
    warnings: list[str] = []
    torn: list[str] = []
    for split, questions in splits.items():
        path = out / f"{_NAMES.get(split, split)}.tsv"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for question in questions:
                file.write("\t".join(_cells(out, question, torn)) + "\n")
        several = sum(len(question.images) > 1 for question in questions)
        if several:
            told = f"{split}: BiomedGPT reads one image; {count_of(several, 'row')} with several show it the middle one"
            warnings.append(told)
    if torn:
        warnings.append(f"tabs and line ends in {count_of(len(torn), 'text')} are spaces now")
    learnt = [question for split in ("train", "validation") for question in splits.get(split, ())]
    if splits.get("train"):
        answers = dict.fromkeys(one_line(question.record.answer) for question in learnt)
        labels = {answer: number for number, answer in enumerate(answers)}
        (out / CHOSEN_FROM).write_bytes(pickle.dumps(labels, protocol=4))
    return warnings


def _cells(out: Path, question: Question, torn: list[str]) -> tuple[str, ...]:
    record, image = question.record, question.images[len(question.images) // 2]
    asked, answer = one_line(record.question), one_line(record.answer)
    torn += [text for text in (record.question, record.answer) if one_line(text) != text]
    for mark in _MARKS:
        if mark in answer:
            told = f"the answer {answer!r} holds {mark}, at which BiomedGPT splits answers"
            raise DataError(told, where=f"{record.split}: {record.id}", hint="write it in other words")
    content = base64.b64encode((out / QUESTIONS / image).read_bytes()).decode("ascii")
    return question.id, Path(image).stem, asked, f"1|!+{answer}", "", content

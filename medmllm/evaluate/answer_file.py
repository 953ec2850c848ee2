"""A file of answers that grows as they come, and continues where a kill left it: no question twice, none left out.

One line a question, in the form of LLaVA's answer files:

    {"question_id", "prompt", "text", "answer_id", "model_id", "metadata": {"asked": ...}}

`asked` is a mark of the model, the settings and the questions. Lines of one file all have the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medmllm.data.records import Record
from medmllm.errors import DataError


@dataclass(frozen=True)
class AnswerFile:
    """Answers to `records`, in their order.

    Attributes:
        path: the file.
        records: the questions.
        batch_size: answers are resumed in whole batches, so that a resumed run forms the batches of the whole one.
        model: name of the model, for `model_id`.
        asked: mark of the model and the settings; that of the questions is added to it.
    """

    path: Path
    records: Sequence[Record]
    batch_size: int
    model: str
    asked: str

    def resume(self) -> list[str]:
        """The answers that are there already; what a kill tore off is cut away.

        Raises:
            DataError: the file holds something else.
        """
        if not self.path.exists():
            return []
        whole = [line + b"\n" for line in self.path.read_bytes().split(b"\n")[:-1]]
        texts = [self._text(number, line) for number, line in enumerate(whole)]
        kept = len(texts) if len(texts) == len(self.records) else len(texts) - len(texts) % self.batch_size
        os.truncate(self.path, sum(map(len, whole[:kept])))
        return texts[:kept]

    def append(self, start: int, texts: Iterable[str]) -> None:
        """Add the answers to the records from number `start` on, in one write."""
        lines = [self._line(start + i, text) for i, text in enumerate(texts)]
        with self.path.open("ab") as file:
            file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())

    def _line(self, number: int, text: str) -> dict[str, Any]:
        record = self.records[number]
        answer = hashlib.sha256(f"{self.mark} {number}".encode()).hexdigest()[:16]
        names = {"question_id": record.id, "prompt": record.question, "text": text}
        return {**names, "answer_id": answer, "model_id": self.model, "metadata": {"asked": self.mark}}

    @cached_property
    def mark(self) -> str:
        """A mark of model, settings and questions."""
        told = repr((self.asked, self.batch_size, list(self.records)))
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def _text(self, number: int, line: bytes) -> str:
        where = f"{self.path}: line {number + 1}"
        hint = "give another place for the answers, or move this file away to start over"
        try:
            row = json.loads(line)
            mark, name, text = row["metadata"]["asked"], row["question_id"], row["text"]
        except (ValueError, KeyError, TypeError) as cause:
            raise DataError("the line is not an answer of an earlier attempt", where=where, hint=hint) from cause
        if number >= len(self.records) or mark != self.mark or name != self.records[number].id:
            told = "the file holds answers of another model, to other questions, or with other settings"
            raise DataError(told, where=where, hint=hint)
        return str(text)

"""VQA's own JSON, as VQA-Med has it too: questions in one list, their answers in another, perhaps in another file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medmllm.text.answers import count_answers

LARGEST = 2**28  # bytes of a file that is read as a whole
KEYS = ("questions", "annotations")


def vqa_rows(path: Path, content: dict[str, Any]) -> Iterator[tuple[int, Any]] | None:
    """Rows of such a file, with the answers of the file beside it; None where the content is something else."""
    beside = _beside(path, content)
    questions, answers = (content.get(key) or beside.get(key) for key in KEYS)
    if not isinstance(questions, list) or not all(isinstance(one, dict) and "question" in one for one in questions[:9]):
        return None
    found = {str(one.get("question_id")): one for one in answers or () if isinstance(one, dict)}
    listed = content.get("images") or beside.get("images") or ()
    images = {str(one.get("id")): one.get("file_name") for one in listed if isinstance(one, dict)}
    return ((number, _row(row, found, images)) for number, row in enumerate(questions, start=1))


def _beside(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The contents of the file of the other half: `..._questions.json` beside `..._annotations.json`."""
    here, there = KEYS if "questions" in content else KEYS[::-1]
    other = path.with_name(path.name.replace(here, there).replace("OpenEnded_", ""))
    others = [other, path.with_name(path.name.replace(here, there))]
    file = next((one for one in others if one != path and one.is_file() and one.stat().st_size <= LARGEST), None)
    if there in content or file is None:
        return {}
    try:
        found = json.loads(file.read_text("utf-8-sig"))
    except (ValueError, RecursionError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _row(row: Any, answers: dict[str, Any], images: dict[str, Any]) -> Any:
    if not isinstance(row, dict):
        return row
    told = answers.get(str(row.get("question_id")), {})
    name = row.get("image") or images.get(str(row.get("image_id"))) or row.get("image_id")
    image = name if not isinstance(name, str) or Path(name).suffix else f"{name}.jpg"
    fields = {"id": row.get("question_id"), "question": row["question"]}
    fields |= {} if image is None else {"image": str(image)}
    answer = told.get("multiple_choice_answer", told.get("answer", row.get("answer")))
    if answer is None and isinstance(told.get("answers"), list):
        said = [one.get("answer") if isinstance(one, dict) else one for one in told["answers"]]
        answer = count_answers(map(str, said)).most_common(1)[0][0] if said else None
    kinds = {name: told[name] for name in ("answer_type", "question_type") if told.get(name)}
    return fields | ({} if answer is None else {"answer": answer}) | kinds

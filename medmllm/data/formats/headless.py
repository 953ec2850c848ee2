"""Rows of text files without a head line: VQA-Med's lists, ROCO's captions, tables of OFA and BiomedGPT.

synpic54082|modality|what is the modality?|xr - plain film        VQA-Med; without the category, or the answer, too
synpic26840|no                                                    VQA-Med 2020, in a file of answers
ROCO_00002 <tab> Computed tomography of the chest.                ROCO's captions.txt
qid <tab> image id <tab> question <tab> 1.0|!+answer <tab> ... <tab> image in base64    OFA, BiomedGPT
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from graphalign.counts import count_of
from medmllm.data.formats.reading import IMAGE_FOLDERS, Reading

LONGEST_LINE = 2**24  # bytes; an image in base64 is on it
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF")
_SCORED = re.compile(r"(\d*\.?\d+)?\|!\+(.*)", re.DOTALL)  # "0.6|!+no": confidence and answer
_PIPED = {2: ("image", "question"), 3: ("image", "question", "answer"), 4: ("image", "topic", "question", "answer")}
_ANSWERED = ("image", "answer")  # of a file that says that it holds answers: VQA-Med 2020's for testing
_SEVERAL = re.compile(r"(?<=\S)#(?=\S)")  # parts right answers of VQA-Med 2019
_HINT = "lines are image|question|answer, or an image's name, a tab and its caption"


class TsvImages:
    """Images in the last cell of a line, by the name that their content gives them; equal images have one name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[str, tuple[int, int]] = {}

    def add(self, content: bytes, start: int, length: int) -> str:
        """Remember on which line an image is; returns its name."""
        name = f"image-{sha256(content).hexdigest()[:20]}"
        self.places.setdefault(name, (start, length))
        return name

    def __call__(self, name: str) -> bytes:
        """Content of an image."""
        start, length = self.places[name]
        with self.path.open("rb") as stream:
            stream.seek(start)
            return decoded_image(stream.read(length).rstrip(b"\r\n").rpartition(b"\t")[2]) or b""


def decoded_image(cell: bytes) -> bytes | None:
    """A picture written in base64, of either alphabet; None where the cell is anything else."""
    if len(cell) < 64:
        return None
    try:
        content = base64.b64decode(cell.translate(bytes.maketrans(b"-_", b"+/")), validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if content.startswith(_PICTURES) else None


def holds_images(path: Path) -> bool:
    """Whether the first line of a table ends with a picture in base64."""
    with path.open("rb") as stream:
        return decoded_image(stream.readline(LONGEST_LINE).rstrip(b"\r\n").rpartition(b"\t")[2]) is not None


def image_table_rows(reading: Reading, stream: BinaryIO) -> Iterator[tuple[int, Any]]:
    """Rows of a table of OFA and BiomedGPT: a question with its answer, or a caption; images stay in the file."""
    images, start, number = TsvImages(reading.path), 0, 0
    reading.content = images
    while line := stream.readline(LONGEST_LINE):
        number += 1
        cells = line.rstrip(b"\r\n").split(b"\t")
        content = decoded_image(cells[-1])
        try:
            texts = [cell.decode("utf-8").strip() for cell in cells[:-1]]
        except UnicodeDecodeError:
            texts = []
        if content is None or len(texts) < 3:
            reading.report(number, "", "is not a line of ids, texts and an image in base64", "see docs/formats.md")
        else:
            yield number, _image_row(texts) | {"image": images.add(content, start, len(line))}
        start += len(line)


def _image_row(texts: list[str]) -> dict[str, Any]:
    """Fields of a line without its image: id, image id, question, answer; or id, image id, caption."""
    found = {"id": texts[0]}
    if len(texts) > 3 and (answer := _surest(texts[3])) is not None:
        return found | {"question": texts[2], "answer": answer}
    if len(texts) > 4 or (len(texts) > 3 and texts[2].endswith("?")):
        return found | {"question": texts[2], "answer": texts[3]}
    return found | {"caption": texts[2]}


def _surest(cell: str) -> str | None:
    """The answer with the highest confidence, the first of equals; None where a cell is not a list of such answers."""
    found = [_SCORED.fullmatch(one) for one in cell.split("&&")]
    scored = [match for match in found if match is not None]
    return max(scored, key=lambda match: float(match[1] or 0))[2] if len(scored) == len(found) else None


def list_rows(reading: Reading, stream: BinaryIO) -> Iterator[tuple[int, Any]]:
    """Rows of a list whose cells are separated by `|` or by one tab; images get the ending that their files have."""
    names = _PIPED | ({2: _ANSWERED} if reading.path.stem.lower().endswith("answers") else {})
    several = 0
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            reading.report(number, "", "the line is not UTF-8 text", "save it as UTF-8")
            continue
        piped = [cell.strip() for cell in text.split("|")]
        image, _, caption = text.partition("\t")
        if len(piped) in names:
            row = dict(zip(names[len(piped)], [_ended(reading, piped[0]), *piped[1:]], strict=True))
            said = _SEVERAL.split(row.get("answer", ""))
            several += len(said) > 1
            yield number, row | ({"answer": said[0]} if len(said) > 1 else {})
        elif caption.strip():
            yield number, {"image": _ended(reading, image.strip()), "caption": caption.strip()}
        elif text:
            reading.report(number, "", f"has {count_of(len(piped), 'cell')} separated by |", _HINT)
    if several:
        told = f"{count_of(several, 'row has', 'rows have')} several right answers; the first of each is read"
        reading.warnings.append(f"{reading.path}: {told}")


def _ended(reading: Reading, name: str) -> str:
    """The name of an image with its ending: one that a file beside or below has, else .jpg."""
    if Path(name).suffix.lower() in (".jpg", ".jpeg", ".png"):
        return name
    endings = (".jpg", ".png", ".jpeg")
    folders = [reading.folder, *(reading.folder / sub for sub in IMAGE_FOLDERS)]
    return next(
        (name + end for folder in folders for end in endings if (folder / (name + end)).is_file()), name + ".jpg"
    )

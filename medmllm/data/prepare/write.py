"""Deterministic archives: the same pictures and records give the same bytes."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

from medmllm.data.prepare.captions import caption
from medmllm.data.prepare.chance import shuffled
from medmllm.data.prepare.pictures import Picture, Question
from medmllm.data.prepare.questions import sentence
from medmllm.data.records import Record

SPLITS = ("train", "validation", "test", "test_slab")
QUALITY = 80
EPOCH = (1980, 1, 1, 0, 0, 0)  # earliest date that a zip file can hold
UNIX = 3


def make_records(chosen: Iterable[tuple[Picture, Question, str]]) -> dict[str, list[Record]]:
    """Records of each split in mixed order, so that the first n are a fair sample of it."""
    splits: dict[str, list[tuple[Picture, Question, str]]] = defaultdict(list)
    for item in chosen:
        splits[item[0].split].append(item)
    mixed = {split: shuffled(splits[split], "records", split) for split in SPLITS}
    return {split: [make_record(number, *item) for number, item in enumerate(mixed[split])] for split in SPLITS}


def make_record(number: int, picture: Picture, question: Question, text: str) -> Record:
    """One row: the question as worded, its answer three times over (bare, as a sentence, as a caption)."""
    return Record(
        id=f"{picture.split}-{number:05d}",
        image=f"images/{picture.name}.webp",
        turns=((text, question.answer),),
        sentence=sentence(question),
        caption=caption(picture, question),
        kind=question.kind,
        subject=picture.subject,
        source=picture.source,
        split=picture.split,
    )


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """The picture as WebP."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=QUALITY, method=6)
    return stream.getvalue()


def write_split(path: Path, records: list[Record], pixels: dict[str, NDArray[np.uint8]]) -> dict[str, Any]:
    """Write one split's archive and return its entry of the manifest.

    Args:
        path: the zip file.
        records: its rows.
        pixels: picture of each image name.
    """
    names = sorted({record.image for record in records})
    lines = "".join(json.dumps(fields(record)) + "\n" for record in records)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(zip_entry(name, zipfile.ZIP_STORED), encode(pixels[name]))
        archive.writestr(zip_entry("records.jsonl", zipfile.ZIP_DEFLATED), lines, compresslevel=9)
    return {
        "bytes": path.stat().st_size,
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "records_sha256": sha256(lines.encode()).hexdigest(),
        "pixels_sha256": pixel_digest(pixels[name] for name in names),
        "rows": len(records),
        "images": len(names),
        "subjects": len({record.subject for record in records}),
        "kinds": dict(sorted(Counter(record.kind for record in records).items())),
    }


def fields(record: Record) -> dict[str, Any]:
    """A record's fields, without those that this data set does not fill."""
    may_lack = ("modality", "options", "answer_type", "topic", "image_place", "caption_missing", "further", "marks")
    return {name: value for name, value in asdict(record).items() if name not in may_lack or value}


def zip_entry(name: str, compression: int) -> zipfile.ZipInfo:
    """A zip entry without traces of the clock or the operating system."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type, info.create_system = compression, UNIX
    return info


def pixel_digest(pictures: Iterable[NDArray[np.uint8]]) -> str:
    """SHA-256 over pictures before compression, in order of their names: independent of the encoder."""
    digest = sha256()
    for picture in pictures:
        digest.update(picture.tobytes())
    return digest.hexdigest()


def write_all(folder: Path, records: dict[str, list[Record]], pictures: Iterable[Picture]) -> dict[str, Any]:
    """Write the four archives and `manifest.json`; returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = {f"images/{picture.name}.webp": picture.pixels for picture in pictures}
    splits = {split: write_split(folder / f"{split}.zip", rows, pixels) for split, rows in records.items()}
    encoders = {"pillow": PIL.__version__, "webp": features.version("webp"), "zlib": zlib.ZLIB_RUNTIME_VERSION}
    manifest = {"format": f"WebP, quality {QUALITY}, 112 x 112 grey", "encoders": encoders, "splits": splits}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def compare(manifest: dict[str, Any], reference: dict[str, Any]) -> dict[str, str]:
    """How each split of a build agrees with another build's manifest.

    Returns:
        By split: "same file"; "same records and pictures, encoded differently" (another WebP or zlib
        version wrote it); or "different".
    """
    verdicts = {}
    for split, wanted in reference["splits"].items():
        found = manifest["splits"][split]
        same = [found[key] == wanted[key] for key in ("sha256", "records_sha256", "pixels_sha256")]
        content = "same records and pictures, encoded differently" if all(same[1:]) else "different"
        verdicts[split] = "same file" if same[0] else content
    return verdicts

"""Command line of the build."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medmllm.data.prepare.archives import check_archives, unpack
from medmllm.data.prepare.balance import choose_questions
from medmllm.data.prepare.films import film_pictures
from medmllm.data.prepare.pictures import Picture
from medmllm.data.prepare.scans import volume_pictures
from medmllm.data.prepare.several import several_rows, write_rows
from medmllm.data.prepare.volumes import load_volumes
from medmllm.data.prepare.write import compare, make_records, write_all
from medmllm.errors import UserError

EMBEDDED = Path(__file__).parent.parent / "embedded" / "manifest.json"


def all_pictures(root: Path) -> Iterator[Picture]:
    """Every candidate picture of the unpacked archives."""
    yield from film_pictures(root)
    for volume in load_volumes(root):
        yield from volume_pictures(volume)


def build_embedded(archives: Path, out: Path) -> dict[str, Any]:
    """Build the data set from the pinned archives; returns the manifest.

    Takes minutes on one core, about 1 GB of memory and 150 MB of temporary disk.

    Raises:
        DataError: an archive is missing or not the pinned one.
        MissingExtraError: a reader is not installed.
    """
    check_archives(archives)
    with tempfile.TemporaryDirectory() as folder:
        unpack(archives, Path(folder))
        pictures = list(all_pictures(Path(folder)))
    records = make_records(choose_questions(pictures))
    manifest = write_all(out, records, pictures)
    images = {split: {record.image for record in rows} for split, rows in records.items()}
    write_rows(out / "slices", several_rows(pictures, images))
    return manifest


def main() -> int:
    """Build, and say how the result compares with the embedded data set; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m medmllm.data.prepare", description=__doc__)
    parser.add_argument("--archives", type=Path, required=True, help="folder of the four downloaded archives")
    parser.add_argument("--out", type=Path, required=True, help="folder for the zip files and manifest.json")
    options = parser.parse_args()
    try:
        manifest = build_embedded(options.archives, options.out)
    except UserError as error:
        print(f"{error.where}: {error.message}\n{error.hint}", file=sys.stderr)
        return error.exit_code
    for split, verdict in compare(manifest, json.loads(EMBEDDED.read_text())).items():
        print(f"{split}: {manifest['splits'][split]['rows']} rows, against the embedded data set: {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

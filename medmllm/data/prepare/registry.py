"""The large data set of the same four archives: every film, every slice, every clear question."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

from medmllm.data.prepare.archives import ARCHIVES, SOFI, check_archives, unpack
from medmllm.data.prepare.balance import choose_questions
from medmllm.data.prepare.fetch import fetch
from medmllm.data.prepare.films import FOLDER, MASKS, film_label, film_pictures, patient_group
from medmllm.data.prepare.pictures import Picture
from medmllm.data.prepare.scans import volume_pictures
from medmllm.data.prepare.volumes import load_volumes, optional
from medmllm.data.prepare.write import make_records, write_all
from medmllm.errors import RunError

ATTRIBUTION = Path(__file__).parent.parent / "embedded" / "ATTRIBUTION.md"
# The known contents of the archives.
ORIGINALS = {
    "films": 3166,
    "films, normal": 1583,
    "films, bacterial pneumonia": 1049,
    "films, viral pneumonia": 534,
    "different films": 3157,
    "patient groups of different films": 2128,
    "lung masks": 299,
    "ct-abdomen-pelvis": "122 x 101 x 112",
    "ct-chest": "233 x 167 x 191",
    "ct-upper-abdomen": "512 x 512 x 20",
    "mr-abdomen": "117 x 91 x 20",
}
HEAD = """\
# Where the large data set comes from

All films of the first archive but exact copies, and all slices that the volumes of the others give, each 112 x 112
grey, with every question that has a clear answer; yes and no are even. It is made from the archives that the embedded
data set is a selection of, so origin, licences and changes are those below, except the selection. **Not for clinical
use.**

"""


def prepare_registry(archives: Path, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Fetch the archives that are missing, and build the data set from them.

    Takes two or three minutes of one core, 0.5 GB of memory, 110 MB to download and 400 MB of disk for a while.

    Args:
        archives: folder for the archives.
        out: folder of the data set; its files are replaced together, once all are made.
        say: called with the progress.

    Returns:
        The manifest, with what the archives were counted to hold in `originals`.

    Raises:
        RunError: an archive cannot be fetched, or does not hold what it is known to hold.
        DataError: an archive is not the pinned one.
        MissingExtraError: a reader is not installed.
    """
    for reader in ("nibabel", "nrrd", "pydicom"):  # before anything is downloaded for nothing
        optional(reader)
    fetch(archives, say)
    check_archives(archives)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        say("unpacking")
        unpack(archives, Path(folder) / "unpacked")
        counts: dict[str, int | str] = {}
        pictures = list(_pictures(Path(folder) / "unpacked", counts, say))
        if counts != ORIGINALS:
            raise RunError(f"the archives hold {counts}, and {ORIGINALS} is known", hint="tell the authors of ExGra")
        say(f"writing {len(pictures):,} pictures")
        made = Path(folder) / "made"
        manifest = write_all(made, make_records(choose_questions(pictures, quota=None)), pictures)
        manifest["originals"] = counts
        manifest["archives"] = {archive.file: archive.sha256 for archive in ARCHIVES}
        (made / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        (made / "ATTRIBUTION.md").write_text(HEAD + ATTRIBUTION.read_text(encoding="utf-8"), encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
    return manifest


def _pictures(root: Path, counts: dict[str, int | str], say: Callable[[str], None]) -> Iterator[Picture]:
    """Every picture; what the archives hold is counted on the way."""
    counts |= film_counts(root)
    say(f"{counts['films']:,} films of {SOFI.source}")
    yield from film_pictures(root, limits=None)
    for volume in load_volumes(root):
        if volume.subject in ORIGINALS:
            counts[volume.subject] = " x ".join(map(str, volume.data.shape))
        found = list(volume_pictures(volume))
        say(f"{len(found):,} pictures of {volume.subject}")
        yield from found


def film_counts(root: Path) -> dict[str, int | str]:
    """The contents of the film archive, by its files' names and contents."""
    paths = sorted((root / FOLDER).glob("*/*/*.jpeg"), key=lambda path: path.name)
    different = {md5(path.read_bytes()).hexdigest(): path for path in reversed(paths)}
    labels = Counter(film_label(path.name) for path in paths)
    return {
        "films": len(paths),
        **{f"films, {label}": labels[label] for label in ("normal", "bacterial pneumonia", "viral pneumonia")},
        "different films": len(different),
        "patient groups of different films": len({patient_group(path.name) for path in different.values()}),
        "lung masks": len(list((root / MASKS).glob("*.png"))),
    }

"""Data sets that have a name: the one inside, the one that is made, and those that a person downloads."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """One data set.

    Attributes:
        name: what `data.source` calls it.
        about: one line.
        licence: as its authors state it; to be checked at the source before use.
        download: shell lines that fetch it; none for what is inside or made here.
        give: what `exgra data prepare NAME --from` is given.
        rows: rows by split, of each edition that is known; empty where they are not checked.
    """

    name: str
    about: str
    licence: str
    download: tuple[str, ...] = ()
    give: str = ""
    rows: tuple[dict[str, int], ...] = field(default=())

    def known(self, read: dict[str, int], left_out: dict[str, int]) -> bool | None:
        """Whether the rows of each split are as many as an edition publishes, with and without those left out.

        None where no edition's counts are known.
        """
        if not self.rows:
            return None
        whole = {split: read.get(split, 0) + left_out.get(split, 0) for split in {**read, **left_out}}
        return read in self.rows or whole in self.rows


EMBEDDED, SLICES, REGISTRY = "embedded", "embedded-slices", "registry"
_HUB = "hf download {} --repo-type dataset --local-dir {}"
_MED = "curl -fLO --create-dirs --output-dir llava-med https://hanoverprod.z21.web.core.windows.net/med_llava"
ENTRIES = (
    Entry(EMBEDDED, "chest films, CT and MR slices, inside the package", "see its ATTRIBUTION.md"),
    Entry(SLICES, "questions over three slices of one volume, inside the package", "see its ATTRIBUTION.md"),
    Entry(REGISTRY, "all films and slices of the same archives, made here once", "see its ATTRIBUTION.md"),
    Entry(
        "vqa-rad",
        "315 radiology images, questions by clinicians",
        "CC0 1.0",
        (
            'curl -fL --create-dirs -o vqa-rad/all.zip "https://files.osf.io/v1/resources/89kps/providers/osfstorage/?zip="',
            "cd vqa-rad && unzip all.zip && unzip -d 'VQA_RAD Image Folder' 'VQA_RAD Image Folder.zip'",
        ),
        "the folder with VQA_RAD Dataset Public.json and VQA_RAD Image Folder/",
        ({"train": 1797, "test": 451}, {"train": 3064, "test": 451}),
    ),
    Entry(
        "slake",
        "642 radiology images, English and Chinese questions; the English ones are read",
        "CC BY 4.0",
        (_HUB.format("BoKelvin/SLAKE", "slake"), "cd slake && unzip imgs.zip"),
        "the folder with train.json, validate.json, test.json and imgs/",
        ({"train": 4919, "validation": 1053, "test": 1061},),
    ),
    Entry(
        "path-vqa",
        "pathology images of textbooks and a digital library",
        "MIT, as the hub states it",
        (_HUB.format("flaviagiammarino/path-vqa", "path-vqa"),),
        "the folder with data/*.parquet, or that with qas/ and images/",
        (
            {"train": 19654, "validation": 6259, "test": 6719},
            {"train": 19755, "validation": 6279, "test": 6761},
        ),
    ),
    Entry(
        "omnimedvqa",
        "multiple choice over 12 modalities, made of other data sets; for testing",
        "of each data set it is made of",
        (
            _HUB.format("foreverbeliever/OmniMedVQA OmniMedVQA.zip", "omnimedvqa"),
            "cd omnimedvqa && unzip OmniMedVQA.zip",
        ),
        "the folder with QA_information/ and Images/",
        ({"test": 88996}, {"test": 127995}),
    ),
    Entry(
        "llava-med",
        "figures of PubMed Central with captions, or conversations about them",
        "CC BY-NC 4.0",
        (
            f"{_MED}/alignment/llava_med_alignment_500k.json",
            f"{_MED}/instruct/llava_med_instruct_60k_inline_mention.json",
            f"{_MED}/llava_med_image_urls.jsonl",
            "then the images, by download_images.py of github.com/microsoft/LLaVA-Med, into llava-med/images",
        ),
        "one of its JSON files, with --images llava-med/images",
    ),
)
NAMES = tuple(entry.name for entry in ENTRIES)
INSIDE = (
    EMBEDDED,
    SLICES,
    REGISTRY,
)  # sets that have all their splits, and whose images are checked when they are made


def catalog_entry(name: str) -> Entry | None:
    """The data set of a name."""
    return next((one for one in ENTRIES if one.name == name), None)

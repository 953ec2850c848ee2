"""The settings of a data set: the section `data` of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from medmllm.data.catalog import NAMES
from medmllm.data.scans.window import window_limits


class DataConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, frozen=True, allow_inf_nan=False)

    source: str = Field(
        "embedded", description="A data set of `exgra data list`, or a file or folder in any of the data formats."
    )
    validation: str | None = Field(
        None, description="A second file to validate on, and without `test` to test on, when `source` is a file."
    )
    test: str | None = Field(None, description="A third file to test on, when `source` is a file.")
    images: str | None = Field(
        None, description="Folder that image names are relative to, where it is not the data file's."
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="Share of the training records; smaller shares are nested in larger ones."
    )
    on_bad_sample: Literal["error", "skip"] = Field(
        "error",
        description="Action on a row or an image that cannot be read: stop, or count it, log it and leave it out.",
    )
    allow_outside: bool = Field(False, description="Let image paths leave the data file's folder.")
    window: str = Field(
        "auto",
        description="How scans are shown: `lung`, `bone`, `soft_tissue`, `brain`, centre and width as in `40/400`, "
        "`percentile`, or `auto`: as the file asks, else its whole range, or its percentiles where a few hot "
        "pixels of an MR or a volume would black out the others; `auto:2` or `auto:NAME` takes another of the file's.",
    )
    language: str = Field(
        "en",
        description="Language of the rows of SLAKE, which has two: `en`, `zh`, or `all`. Others do not say theirs.",
    )
    slices: int | tuple[int, ...] = Field(
        1,
        description="Slices of each volume that a row names whole: so many, evenly spaced, or those of these numbers, "
        "from 0, as in `[10,40,70]`.",
    )
    volume: Literal["rows", "sample"] = Field(
        "rows",
        description="What several slices of a volume become: `rows`, each asked about by itself, or one `sample` that "
        "shows all of them.",
    )
    positions: bool = Field(
        False, description='Write the place of each slice of a volume into the question: "Slice 3 of 8".'
    )

    image_columns: tuple[str, ...] = Field(
        (),
        description="Columns of a table that hold the images of a row, in the order in which they are shown, where "
        "their names do not say it as `image_1` or `image_lateral` do.",
    )
    text_only: bool = Field(False, description="Keep rows that name no image.")
    wrong_captions: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the training captions that are passed on to other rows, to measure what wrong pairs do; "
        "smaller shares are nested in larger ones. Not for shards.",
    )
    pairs: str | None = Field(
        None,
        description="Pairs of `exgra align`, its `pairs.csv`, that give training rows, named by their ids, captions "
        "out of `data.captions`. Rows in no accepted pair keep theirs, or are aligned without a caption.",
    )
    captions: str | None = Field(
        None, description="A table or JSON file with an `id` and a `caption` in each row, which `data.pairs` names."
    )
    min_confidence: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="Least confidence of a found pair of `data.pairs`; known ones are always taken, and with 1 no "
        "others.",
    )

    @field_validator("slices", mode="before")
    @classmethod
    def _some_slices(cls, value: Any) -> Any:
        """A count, or numbers of slices in any order; a mix of both is refused in one sentence."""
        numbers = list(value) if isinstance(value, (list, tuple)) else None
        whole = [one for one in numbers or [value] if isinstance(one, int) and not isinstance(one, bool)]
        least = 1 if numbers is None else 0
        if numbers == [] or len(whole) < len(numbers or [value]) or not least <= min(whole) <= max(whole) <= 2**16:
            raise ValueError(f"must be at least 1 and at most {2**16:,}, or a list of numbers from 0 on")
        return value if numbers is None else tuple(numbers)

    @field_validator("window")
    @classmethod
    def _known_window(cls, value: str) -> str:
        window_limits(value)
        return value

    @field_validator("source", "validation", "test", "images", "pairs", "captions")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        """Files are named from the root on, so that a saved configuration works from any folder."""
        return value if value is None or value in NAMES else str(Path(value).expanduser().absolute())

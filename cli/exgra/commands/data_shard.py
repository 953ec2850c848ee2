"""`exgra data shard` and `exgra data index`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from exgra.failure import writing_to
from exgra.options import AllowOutside, Debug, ImageFolder, Json, ScanWindow, data_section
from exgra.screen import put, put_json, say
from graphalign.counts import count_of


def shard(
    source: Annotated[str, typer.Argument(metavar="DATA", help="`embedded`, or a file or folder of data.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the shards.")],
    split: Annotated[str, typer.Option(help="Which split.")] = "train",
    samples: Annotated[int, typer.Option(min=1, help="Samples of a shard.")] = 5000,
    layout: Annotated[str, typer.Option("--format", help="`tar` (WebDataset's layout) or `parquet`.")] = "tar",
    images: ImageFolder = None,
    allow_outside: AllowOutside = False,
    window: ScanWindow = "auto",
    slices: Annotated[int, typer.Option(min=1, help="Slices of each volume that a row names whole.")] = 1,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a split as shards, to be streamed in training with `data.source=OUT`."""
    from medmllm.data.shards.write import write_shards
    from medmllm.data.sources import open_source
    from medmllm.errors import ConfigError

    if layout not in ("tar", "parquet"):
        raise ConfigError(f"{layout} is not a layout of shards", where="--format", hint="--format tar, or parquet")
    config = data_section(source, images=images, allow_outside=allow_outside, window=window, slices=slices)
    with writing_to(out):
        index = write_shards(
            open_source(config), out, split=split, samples=samples,
            layout="parquet" if layout == "parquet" else "tar",
            heard=lambda done, total: say(f"{done} of {total} samples"),
        )  # fmt: skip
    found = {"folder": str(out), "format": index.layout, "shards": len(index.shards), "samples": len(index)}
    put_json(found) if as_json else put(
        f"{out}: {count_of(len(index), 'sample')} in {count_of(len(index.shards), 'shard')}"
    )


def index(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds `*.tar` of `KEY.jpg` and `KEY.json`.")],
    incomplete: Annotated[
        Literal["error", "skip"], typer.Option(help="A sample without an image, or without a text.")
    ] = "error",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make tars in WebDataset's layout readable as `data.source=FOLDER`, by an index beside them."""
    from medmllm.data.shards.webdataset import index_tars

    with writing_to(folder):
        found, left_out = index_tars(
            folder, incomplete=incomplete, heard=lambda done, total: say(f"{done} of {total} tars")
        )
    told = {"folder": str(folder), "shards": len(found.shards), "samples": len(found), "left_out": left_out}
    put_json(told) if as_json else put(
        f"{folder}: {count_of(len(found), 'sample')} in {count_of(len(found.shards), 'tar')}"
    )
    if left_out:
        say(f"warning: left out: {count_of(left_out, 'sample')} without an image or a text")

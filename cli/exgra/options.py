"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from medmllm.data.config import DataConfig

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE...", help="Settings, e.g. `train.lr=1e-3`.", show_default=False),
]
Source = Annotated[str, typer.Argument(metavar="CONFIG", help="A preset, a YAML file, or a run's folder.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, and nothing else there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")]

Model = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN|MODEL", help="A run's folder, a saved LLaVA's, or its id on the hub.", show_default=False
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Questions answered at once; as in the run if not given.", show_default=False)
]
MaxNewTokens = Annotated[
    int | None, typer.Option(min=1, help="Longest answer in tokens; as in the run if not given.", show_default=False)
]
Window = Annotated[
    str | None,
    typer.Option(
        metavar="WINDOW",
        help="How scans are shown: `lung`, `40/400`, ...; as in training if not given.",
        show_default=False,
    ),
]
Language = Annotated[
    str | None,
    typer.Option(help="Language of SLAKE's rows: en (the default), zh, or all.", show_default=False),
]
AllowOutside = Annotated[bool, typer.Option("--allow-outside", help="Let image paths leave the file's folder.")]
ImageFolder = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="Folder that image names are relative to.", show_default=False),
]
RowLanguage = Annotated[str, typer.Option(help="Language of SLAKE's rows: en, zh, or all.")]
ScanWindow = Annotated[str, typer.Option(help="How DICOM and NIfTI are shown, as in `data.window`.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where the model answers.")]


def source_and_overrides(source: str | None, overrides: list[str] | None) -> tuple[str | None, list[str]]:
    """Separate CONFIG from KEY=VALUE: `exgra train seed=3` names no configuration."""
    words = list(overrides or [])
    if source is not None and "=" in source:
        return None, [source, *words]
    return source, words


def data_section(source: str, **settings: object) -> DataConfig:
    """The data section of a configuration, checked as `exgra train` checks it."""
    from medmllm.settings.load import load_config

    return load_config(
        "demo", flags={f"data.{name}": value for name, value in {"source": source, **settings}.items()}
    ).data

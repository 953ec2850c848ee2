"""`exgra data`: what a data set holds, whether it is sound, and what can be cut out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exgra.commands import data_captions, data_cut, data_export, data_prepare, data_shard
from exgra.failure import with_command
from exgra.options import AllowOutside, Debug, ImageFolder, Json, RowLanguage, ScanWindow, data_section
from exgra.screen import percent, put, put_json, put_table, say, warn
from graphalign.counts import count_of

if TYPE_CHECKING:
    from medmllm.data.doctor.lengths import Limits
    from medmllm.data.source import Source
    from medmllm.data.validate import ValidationReport

app = typer.Typer(no_args_is_help=True, help="Describe, check, cut and prepare data sets.")
Data = Annotated[str, typer.Argument(metavar="DATA", help="A data set of `exgra data list`, or a file or folder.")]
Validation = Annotated[
    str | None, typer.Option(metavar="FILE", help="A second file, to validate on, and to test on if there is no third.")
]
Test = Annotated[str | None, typer.Option(metavar="FILE", help="A third file, to test on.")]
NAMED = 3  # images that a line names
UNITS = {"people": ("person", "people"), "images": ("image", "images")}


@app.command()
def describe(
    source: Data = "embedded",
    validation: Validation = None,
    test: Test = None,
    images: ImageFolder = None,
    allow_outside: AllowOutside = False,
    language: RowLanguage = "en",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Count rows, people, images, questions and answers."""
    from medmllm.data.describe import describe_data

    found = describe_data(
        opened(source, validation=validation, test=test, images=images, allow_outside=allow_outside, language=language)
    )
    put_json(found) if as_json else put_description(found)


@app.command()
def validate(
    source: Data = "embedded",
    validation: Validation = None,
    test: Test = None,
    images: ImageFolder = None,
    allow_outside: AllowOutside = False,
    language: RowLanguage = "en",
    window: ScanWindow = "auto",
    max_length: Annotated[int | None, typer.Option(help="Longest row in tokens, image included.")] = None,
    image_tokens: Annotated[int | None, typer.Option(help="Tokens that an image takes.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="A check to leave out; repeat it.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the problems as CSV too.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check every row, every image, and overlaps of splits; exit 3 if anything is wrong."""
    from exgra.progress import counting
    from medmllm.data.doctor.report import write_csv
    from medmllm.data.validate import validate_data

    config = data_section(
        source,
        validation=validation,
        test=test,
        images=images,
        allow_outside=allow_outside,
        language=language,
        window=window,
    )
    limits = room(max_length, image_tokens)
    with counting("images") as on_progress:
        report = validate_data(config, checks=wanted_checks(ignore or []), limits=limits, on_progress=on_progress)
    if csv is not None:
        write_csv(csv, report.problems)
    put_report(report, source, as_json)
    raise typer.Exit(3 if report.problems else 0)


@app.command()
def stats(
    source: Data = "embedded",
    validation: Validation = None,
    test: Test = None,
    images: ImageFolder = None,
    allow_outside: AllowOutside = False,
    language: RowLanguage = "en",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Describe questions and answers, and score guesses made without an image."""
    from medmllm.data.stats import stats

    data = opened(
        source, validation=validation, test=test, images=images, allow_outside=allow_outside, language=language
    )
    for warning in data.warnings:
        warn(warning)
    found = stats(data)
    put_json(found) if as_json else put_stats(found)


def room(max_length: int | None, image_tokens: int | None) -> Limits:
    """The model's room; what is not given is the default configuration's."""
    from medmllm.data.doctor.lengths import Limits

    given = {"max_length": max_length, "image_tokens": image_tokens}
    return Limits(**{name: value for name, value in given.items() if value is not None})


def wanted_checks(ignored: list[str]) -> list[str]:
    from medmllm.data.validate import CHECKS
    from medmllm.errors import ConfigError

    for name in ignored:
        if name not in CHECKS:
            raise ConfigError(f"there is no check {name!r}", where="--ignore", hint=f"one of {', '.join(CHECKS)}")
    return [name for name in CHECKS if name not in ignored]


def put_report(report: ValidationReport, source: str, as_json: bool) -> None:
    """The report, with names of files relative to the data's folder."""
    from exgra.problems import home, problem_lines, relative, wrapped
    from medmllm.data.validate import CHECKS
    from medmllm.errors import command_line

    folder = home(source)
    for warning in report.warnings:
        say("\n".join(wrapped(f"warning: {relative(warning, folder)}", "")))
    if as_json:
        put_json(report.to_dict())
    else:
        command = with_command(command_line("data", "validate", source, "--csv", "problems.csv"))
        for line in problem_lines(report.problems, CHECKS, folder, command=command):
            put(line)
    if report.scans and not as_json:
        put_scans(report)
    counts = {"row": report.rows, "image": report.images, "problem": len(report.problems)}
    say(", ".join(count_of(number, noun) for noun, number in counts.items()))


def put_scans(report: ValidationReport) -> None:
    """How scans are shown, and what had to be chosen for it."""
    columns = ["modality", "pixels", "bits", "window from", "images", "windows (centre/width)", "mm (rows x columns)"]
    groups = [
        (g.modality or "not said", g.pixels, g.bits, g.origin, g.images, g.windows, g.spacings) for g in report.scans
    ]
    put_table(columns, groups)
    for choice in report.choices:
        more = f" and {choice.images - NAMED} more (--json lists them)" if choice.images > NAMED else ""
        say(f"{choice.choice}: {', '.join(choice.names[:NAMED])}{more}")


def put_stats(found: dict[str, Any]) -> None:
    for name, split in found.items():
        people = count_of(split["people"], *UNITS[split["counted"]])
        people += ", as no row names a person" if split["counted"] == "images" else ""
        different = count_of(split["questions"], "different question" if split["questions"] > 1 else "question")
        put(f"{name}: {count_of(split['rows'], 'row')}, {different}, {people}")
        parts = [*split["kinds"].items(), *([("all kinds", split)] if len(split["kinds"]) > 1 else [])]
        rows = [(f"  {kind}", k["rows"], percent(k["answer"]), percent(k["guess"])) for kind, k in parts]
        put_table(["  kind", "rows", "commonest answer", "guessing"], rows)
        put()
    put("guessing: the most common training answer to the same question, as beside the accuracy of a run")


def opened(source: str, **settings: object) -> Source:
    """The data set of such a section."""
    from medmllm.data.sources import open_source

    return open_source(data_section(source, **settings))


def put_description(found: dict[str, Any]) -> None:
    splits = found["splits"].items()
    rows = [(name, s["rows"], s["subjects"], s["images"], len(s["kinds"]), caption_lengths(s)) for name, s in splits]
    put_table(["split", "rows", "people", "images", "kinds", "words in a caption"], rows)
    for name, split in splits:
        put(f"\n{name}")
        kinds = [
            (kind, k["rows"], k["different_answers"], ", ".join(k["answers"])) for kind, k in split["kinds"].items()
        ]
        put_table(
            ["  question kind", "rows", "answers", "most frequent first"], [(f"  {k}", *rest) for k, *rest in kinds]
        )
    put(f"\norigin and licence: {found['attribution']}")
    for warning in found["warnings"]:
        warn(warning)


def caption_lengths(split: dict[str, Any]) -> str:
    lengths = split["caption_words"]
    return "{least} to {most}, median {median:g}".format(**lengths) if lengths else "-"


app.command()(data_cut.subset)
app.command()(data_cut.split)
app.command("list")(data_prepare.list_)
app.command()(data_prepare.prepare)
app.command("extend-captions")(data_captions.extend_captions)
app.command("export")(data_export.export_questions)
app.command()(data_shard.shard)
app.command()(data_shard.index)

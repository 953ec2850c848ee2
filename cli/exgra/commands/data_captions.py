"""`exgra data extend-captions`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exgra.options import AllowOutside, Debug, Json
from exgra.screen import duration, put_json, put_table, say
from graphalign.counts import count_of

if TYPE_CHECKING:
    from medmllm.data.captions.job import Estimate
    from medmllm.data.captions.writers import Writer
    from medmllm.data.records import Record
    from medmllm.endpoint import Endpoint

Price = Annotated[float | None, typer.Option(min=0, help="Price of a million tokens, for the estimate.")]


def extend_captions(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A data file in any of the formats.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The same rows with `conversations_long`: .json or .jsonl.")
    ],
    endpoint: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible, up to `/v1`.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name at the endpoint.")] = None,
    local: Annotated[str | None, typer.Option(metavar="FOLDER", help="A language model on this machine.")] = None,
    rules: Annotated[bool, typer.Option("--rules", help="No model: state what is known of each image.")] = False,
    window: Annotated[str, typer.Option(help="How DICOM and NIfTI are shown to the rules.")] = "auto",
    key_env: Annotated[str, typer.Option(metavar="NAME", help="Environment variable with the key.")] = "OPENAI_API_KEY",
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests at once.")] = 4,
    per_minute: Annotated[float | None, typer.Option(min=0.01, help="Most requests a minute, in all.")] = None,
    tries: Annotated[int, typer.Option(min=1, max=20, help="Most attempts for a row.")] = 6,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one request may take.")] = 60.0,
    price_in: Price = None,
    price_out: Price = None,
    partial: Annotated[bool, typer.Option("--partial", help="Write OUT although some rows have failed.")] = False,
    allow_outside: AllowOutside = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and send nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write extended answers for every row, by a model or by rules; exit 5 if some rows got none.

    Only questions and answers are sent, never images, and nothing of data that is marked private. Finished rows are
    kept in OUT.progress.jsonl; the same call continues after an interruption.
    """
    from exgra.progress import counting
    from medmllm.data.captions.job import estimate_cost, open_job, run_job
    from medmllm.endpoint import Endpoint

    if sum((endpoint is not None, local is not None, rules)) != 1:
        raise typer.BadParameter("give one of --endpoint, --local and --rules")
    if endpoint is not None and model is None:
        raise typer.BadParameter("--endpoint needs --model")
    asked = Endpoint(endpoint, str(model), key_env, timeout, tries, per_minute) if endpoint is not None else None
    by = rule_writer(file, allow_outside, window) if rules else model_writer(asked, local, dry_run)
    job = open_job(file, out, by, allow_outside=allow_outside)
    found = estimate_cost(job, price_in, price_out)
    if dry_run:
        put_estimate(found, per_minute, as_json)
        return
    say(f"{found.todo} of {count_of(found.rows, 'row')} to extend; progress is kept in {job.progress}")
    workers = concurrency if endpoint is not None else 1
    with counting("rows") as on_progress:
        outcome = run_job(job, workers=workers, partial=partial, on_progress=on_progress)
    if as_json:
        put_json(outcome.to_dict())
    elif outcome.failed:
        put_table(["id", "reason"], outcome.failed)
    say(f"{count_of(outcome.written, 'row')} extended, {len(outcome.failed)} failed")
    say(f"written: {outcome.file}" if outcome.file else "run the same command to try the failed rows again")
    raise typer.Exit(5 if outcome.failed else 0)


def model_writer(endpoint: Endpoint | None, local: str | None, dry_run: bool) -> Writer:
    """A model as the writer; one on this machine is loaded only if it is going to write."""
    from medmllm.data.captions.writers import EndpointWriter, LocalWriter

    if endpoint is not None:
        return EndpointWriter(endpoint)
    return LocalWriter(str(local), None, None) if dry_run else LocalWriter.load(str(local))


def rule_writer(file: Path, allow_outside: bool, window: str) -> Writer:
    """The rules, which open the images of a file."""
    from medmllm.data.captions.writers import RuleWriter
    from medmllm.data.formats import Wanted, read_file
    from medmllm.data.images import decode, locate
    from medmllm.errors import DataError

    def open_image(record: Record) -> object:
        if len(record.images) != 1:
            told = f"the rules describe one image, and the row has {len(record.images)}"
            raise DataError(told, where=f"{file}: {record.id}", hint="let a model write: --endpoint or --local")
        path = locate(folder, record.image, allow_outside=allow_outside)
        return decode(path, where=f"{file}: image {record.image}", name=record.image, window=window)

    folder = read_file(file, wanted=Wanted(allow_outside=allow_outside)).folder
    return RuleWriter(open_image)


def put_estimate(found: Estimate, per_minute: float | None, as_json: bool) -> None:
    if as_json:
        put_json(found.to_dict())
        return
    rows: list[tuple[str, object]] = [
        ("rows", found.rows),
        ("have extended answers", found.have),
        ("finished earlier", found.done),
        ("to do", found.todo),
        ("tokens sent, about", f"{found.tokens_in:,}"),
        ("tokens written, about", f"{found.tokens_out:,}"),
        ("cost, about", "give --price-in and --price-out" if found.cost is None else f"{found.cost:,.2f}"),
    ]
    rows += [("at the least", duration(60 * found.todo / per_minute))] if per_minute else []
    put_table(["", ""], rows)

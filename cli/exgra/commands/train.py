"""`exgra train`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exgra.failure import Interrupted, writing_to
from exgra.launch import launch
from exgra.options import Debug, Json, Overrides, source_and_overrides
from exgra.screen import put, put_json, say
from exgra.story import story_lines

if TYPE_CHECKING:
    from medmllm.settings.schema import Config


def folder_path(text: str) -> Path:
    """The path of `--out`; one that ends in no name, as `.`, from the root on."""
    if not text:
        raise typer.BadParameter("it must not be empty; give the run's folder")
    return Path(text) if Path(text).name not in ("", "..") else Path(text).resolve()


def train(
    config: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="A preset, a YAML file, or a run's folder; `demo` if not given."),
    ] = None,
    overrides: Overrides = None,
    solver: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Matching solver, e.g. `lap`; see `exgra solvers`.")
    ] = None,
    estimator: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Gradient estimator, e.g. `imle(lam=1)`; see `exgra estimators`.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", parser=folder_path, help="The run's folder; a new one under `runs/` if not given."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seeds weights, data order and noise.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="`auto`, `cpu`, `cuda` or `mps`.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in `--out`.")] = False,
    nproc: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes on this machine, one for each GPU; see docs/scaling.md.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Check everything and say what would be done.")
    ] = False,
    gpu: Annotated[
        str | None,
        typer.Option(metavar="CARD", help="With `--dry-run`: the GPU to plan for, e.g. `h100`; a wrong one lists all."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model, evaluate it on held-out people, and write the run's folder."""
    from medmllm.distributed import launched_rank
    from medmllm.run.folder import check_folder

    if launched_rank():
        take_part()
    source, words = source_and_overrides(config, overrides)
    flags = {"align.solver": solver, "align.estimator": estimator, "seed": seed, "device": device}
    loaded = chosen_config(source, words, flags, out, resume=resume)
    check_folder(out or new_folder(loaded), resume=resume)
    if dry_run:
        named = any(word.startswith("data.source=") for word in words)  # a preset's data may come later
        show_plan(loaded, out or new_folder(loaded), as_json, gpus=nproc, card=gpu, data_here=named)
    elif nproc > 1:
        options = {"--resume": resume, "--json": as_json, "--debug": debug}
        again = [*([source] if source else []), *given(words, flags), *(name for name, on in options.items() if on)]
        raise typer.Exit(launch(["train", *again, *(["--out", str(out)] if out else [])], nproc))
    else:
        check_and_train(loaded, out, given(words, flags), resume=resume, as_json=as_json)


def take_part() -> None:
    """Entry point for ranks above 0: follow rank 0, and be silent about failures
    that are not its own."""
    from medmllm.distributed import lost_peer
    from medmllm.errors import ElsewhereError
    from medmllm.settings.schema import Config
    from medmllm.training.trainer import train

    try:
        train(Config(), Path())  # the first process says what is to be done, and where
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except ElsewhereError:
        raise typer.Exit(1) from None
    except RuntimeError as error:
        if not lost_peer(error):
            raise
        raise typer.Exit(1) from None
    raise typer.Exit


def chosen_config(
    source: str | None, words: list[str], flags: dict[str, Any], out: Path | None, *, resume: bool
) -> Config:
    """The configuration that was asked for; a run that is resumed keeps its own."""
    from medmllm.errors import ConfigError
    from medmllm.settings.load import differences, load_config

    if resume and out is None:
        raise ConfigError("--resume needs the folder of the run", hint=resuming(newest_run()))
    own = out / "config.yaml" if resume and out else None
    asked = source is not None or given(words, flags)
    if own is None or not own.exists():
        return load_config(source or "demo", words, flags)
    try:
        kept = load_config(str(own))
    except ConfigError as error:
        copies = sorted(own.parent.glob("checkpoints/step-*/copy-of-config.yaml"))
        error.hint = error.hint or (f"put its copy in its place: {copies[-1]}" if copies else "put it back")
        raise
    changed = differences(kept, load_config(source or "demo", words, flags)) if asked else []
    if changed:
        say = f"the run was started with other settings: {', '.join(changed)} differ"
        raise ConfigError(say, where=str(own), hint=resuming(out))
    return kept


def given(words: list[str], flags: dict[str, Any]) -> list[str]:
    """All overrides as words, whichever way they came."""
    return [*words, *(f"{key}={value}" for key, value in flags.items() if value is not None)]


def new_folder(config: Config) -> Path:
    """A folder name that tells when, what and which seed, and that is free."""
    name = f"{datetime.now():%Y-%m-%d_%H%M}_{config.name}_s{config.seed}"
    names = [name, *(f"{name}_{count}" for count in range(2, 1000))]
    return next(path for path in (Path("runs") / name for name in names) if not os.path.lexists(path))


@contextmanager
def claimed_folder(config: Config) -> Iterator[Path]:
    """A new folder that no other run has; gone again if nothing was written into it."""
    folder = claim(config)
    try:
        yield folder
    finally:
        with suppress(OSError):  # it holds a run
            folder.rmdir()


def claim(config: Config) -> Path:
    """Make a new folder; of two runs that want one name only one can make it, and the other takes the next."""
    while True:
        folder = new_folder(config)
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder


def resuming(folder: Path | None) -> str:
    """The command that continues a run."""
    from medmllm.errors import command_line

    return command_line("train", "--resume", "--out", folder)


def newest_run() -> Path:
    runs = sorted(Path("runs").glob("*/config.yaml"), key=lambda path: path.stat().st_mtime)
    return runs[-1].parent if runs else Path("runs/NAME")


def show_plan(config: Config, folder: Path, as_json: bool, *, gpus: int, card: str | None, data_here: bool) -> None:
    from exgra.plan_lines import plan_lines
    from medmllm.planning.plan import check_disk, plan

    found = plan(config, gpus=gpus, card=card, data_here=data_here)
    if found.card is None or found.device == "cuda":  # else the plan is for another machine than this
        check_disk(config, folder)
    if as_json:
        put_json({**found.to_dict(), "writes": str(folder)})
    else:
        put("\n".join([*plan_lines(found), f"writes    {folder}/"]))


def check_and_train(config: Config, out: Path | None, words: list[str], *, resume: bool, as_json: bool) -> None:
    """Check what can be checked at once, train, and tell what came of it."""
    from exgra.progress import quiet_libraries
    from medmllm.data.sources import check_source
    from medmllm.interop.original import with_stock_source
    from medmllm.planning.plan import check_config, check_disk

    quiet_libraries()
    for name in () if resume else (config.data.source, config.data.validation, config.data.test):
        if name is not None:
            check_source(name)  # before a model is downloaded or a folder is made
    config = with_stock_source(config, say)
    check_config(config)
    check_disk(config, out or new_folder(config))
    with nullcontext(out) if out else claimed_folder(config) as folder:
        summary = train_with_progress(config, folder, words, resume=resume)
    if as_json:
        put_json({**summary, "run": str(folder)})
    else:
        put("\n".join(lines_of(summary, folder, resume=resume)))


def lines_of(summary: dict[str, Any], folder: Path, *, resume: bool) -> list[str]:
    """The summary as text; that of a run which was done before may have been damaged since."""
    from medmllm.run.folder import RunFolder

    try:
        return story_lines(summary, folder)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if not resume:
            raise
        raise RunFolder(folder).damaged("summary.json", "figures are missing or are not numbers") from error


def train_with_progress(config: Config, folder: Path, words: list[str], *, resume: bool) -> dict[str, Any]:
    from exgra.progress import listener, quiet_libraries
    from medmllm.distributed import lost_peer
    from medmllm.errors import RunError
    from medmllm.model.alignment import describe_alignment
    from medmllm.training.trainer import train

    quiet_libraries()
    say(f"training {config.name} with {describe_alignment(config.align)}; writing {folder}")
    try:
        with listener() as ear, writing_to(folder):
            return train(config, folder, resume=resume, overrides=words, listener=ear)
    except KeyboardInterrupt:
        told = "interrupted; nothing is lost, and the run can be resumed"
        raise Interrupted(told, where=str(folder), hint=resuming(folder)) from None
    except Exception as error:
        if lost_peer(error):
            raise RunError("another process of the run has ended", where=str(folder), hint="see its message") from error
        if (folder / "error.log").exists():
            error.add_note(f"{folder / 'error.log'} holds the traceback; --debug shows it")
        raise

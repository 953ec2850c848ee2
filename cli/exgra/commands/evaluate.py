"""`exgra eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from exgra.failure import going_on, writing_to
from exgra.options import AllowOutside, BatchSize, Debug, Device, Json, Language, MaxNewTokens, Model, Window
from exgra.screen import put, put_json, say, warn
from exgra.story import scores_lines

FILES = "Answers that are there already"
JUDGE = "The judge of --task chatbot"

Task = Annotated[
    Literal["vqa", "choice", "reliance", "chatbot"],
    typer.Option(
        help="vqa: answers and their scores; choice: options of each question; reliance: blank, noise and "
        "others' images; chatbot: free answers graded by a judge."
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="Which records: test, test_slab, validation, train, or all of a file of references; test if not given, "
        "and all of a file that does not say which are for testing.",
        show_default=False,
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Answer at most this many records.", show_default=False)]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="DATA", help="Data set to ask; the run's own if not given, or the embedded one.", show_default=False
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Where answers and scores go; the run's own folder if not given.", show_default=False
    ),
]
References = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Questions with true answers.", show_default=False, rich_help_panel=FILES),
]
Predictions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]FILE",
        help="Answers of any system to them; repeat it to compare several with the first.",
        show_default=False,
        rich_help_panel=FILES,
    ),
]
Missing = Annotated[
    Literal["error", "wrong"],
    typer.Option(
        help="A question to which the file has no answer: error stops, wrong counts it as a wrong answer.",
        rich_help_panel=FILES,
    ),
]
StripRole = Annotated[
    str | None,
    typer.Option(
        metavar="WORD",
        help="Remove this word and its colon before every answer, e.g. `Assistant`.",
        show_default=False,
        rich_help_panel=FILES,
    ),
]
Candidates = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Candidate answers of open accuracy, or training data to take them from.",
        show_default=False,
        rich_help_panel=FILES,
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN|FILE", help="Another run, or another file of answers, to compare with.", show_default=False
    ),
]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="OpenAI-compatible, up to `/v1`.", show_default=False, rich_help_panel=JUDGE),
]
JudgeName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The judge's name at the endpoint.", show_default=False, rich_help_panel=JUDGE),
]
KeyEnv = Annotated[str, typer.Option(metavar="NAME", help="Environment variable with the key.", rich_help_panel=JUDGE)]
PerMinute = Annotated[
    float | None, typer.Option(min=0.01, help="Most requests a minute.", show_default=False, rich_help_panel=JUDGE)
]
Seed = Annotated[int, typer.Option(help="Seed sent with each request.", rich_help_panel=JUDGE)]


def evaluate(
    run: Model = None,
    task: Task = "vqa",
    split: Split = None,
    language: Language = None,
    limit: Limit = None,
    data: Data = None,
    allow_outside: AllowOutside = False,
    out: Out = None,
    batch_size: BatchSize = None,
    max_new_tokens: MaxNewTokens = None,
    device: Device = "auto",
    window: Window = None,
    references: References = None,
    predictions: Predictions = None,
    missing: Missing = "error",
    strip_role: StripRole = None,
    candidates: Candidates = None,
    baseline: Baseline = None,
    endpoint: Url = None,
    judge: JudgeName = None,
    key_env: KeyEnv = "OPENAI_API_KEY",
    per_minute: PerMinute = None,
    seed: Seed = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer held-out questions with a trained model and score the answers; or score those of any other system."""
    from medmllm.data.formats.reading import split_name

    split = (split_name(split) or split) if split else None  # "dev" and "val" are names of "validation", as in data
    systems = named_files(predictions or [])
    check_what(run, references, systems, baseline)
    if references is not None:
        model_only: dict[str, object] = {"--data": data, "--limit": limit, "--batch-size": batch_size}
        model_only |= {"--window": window, "--max-new-tokens": max_new_tokens}
        model_only |= {"--allow-outside": allow_outside or None}
        model_only |= {"--out": None if task == "chatbot" else out}
        check_files_only(task, [name for name, value in model_only.items() if value is not None])
    if run is not None:
        check_data(data, allow_outside)
    run = None if run is None else in_stock_layout(run)
    wanted = {
        "split": split or "test",
        "language": language,
        "limit": limit,
        "source": data,
        "allow_outside": allow_outside,
    }
    wanted |= {"batch_size": batch_size, "max_new_tokens": max_new_tokens, "device": device, "window": window}
    rows = {"missing_is_wrong": missing == "wrong", "split": split, "language": language or "en", "role": strip_role}
    if task == "chatbot":
        files = (references, next(iter(systems.values()), None), baseline)
        before_a_judge(run, wanted, files, rows, out, (endpoint, judge, key_env, per_minute, seed), as_json)
    elif len(systems) > 1 and references is not None:
        compare_answers(references, systems, candidates, rows, as_json)
    elif systems and references is not None:
        score_answers(references, next(iter(systems.values())), baseline, candidates, rows, as_json)
    elif task == "choice":
        choose_options(str(run), wanted, out, as_json)
    elif task == "reliance":
        look_away(str(run), wanted, out, as_json)
    else:
        ask(str(run), wanted, out, baseline, as_json)


def check_files_only(task: str, model_only: list[str]) -> None:
    """Files of answers are scored as they are: nothing that steers a model may be given beside them."""
    from medmllm.errors import ConfigError

    model_only = [f"--task {task}"] * (task in ("choice", "reliance")) + model_only
    if model_only:
        say = f"{model_only[0]} has no effect on answers in files"
        raise ConfigError(say, hint="leave it out, or give a model in place of --references and --predictions")


def check_data(name: str | None, allow_outside: bool) -> None:
    """Make sure that the data is here before a model is downloaded or converted for it."""
    from medmllm.data.sources import check_source
    from medmllm.errors import ConfigError

    if name is not None:
        check_source(name)
    elif allow_outside:
        hint = "leave it out: a run's own data follows its data.allow_outside"
        raise ConfigError("--allow-outside has no effect without --data", hint=hint)


def in_stock_layout(run: str) -> str:
    """The model itself, or what a checkpoint of LLaVA's first layout was converted to."""
    from exgra.progress import quiet_libraries
    from medmllm.interop.original import stock_model

    quiet_libraries()
    return stock_model(run, say)


def named_files(given: list[str]) -> dict[str, Path]:
    """Files of answers by their systems' names: `NAME=FILE`, or a file, which names itself."""
    from medmllm.errors import ConfigError

    found: dict[str, Path] = {}
    for word in given:
        name, mark, file = word.partition("=")
        path = Path(file if mark and not Path(word).exists() else word)
        name = name if str(path) != word else path.stem
        if name in found:
            raise ConfigError(f"two systems are called {name}", where="--predictions", hint="--predictions NAME=FILE")
        found[name] = path
    return found


def check_what(run: str | None, references: Path | None, systems: dict[str, Path], baseline: Path | None) -> None:
    """Either a model answers, or both files are given."""
    from medmllm.errors import ConfigError

    if len(systems) > 1 and baseline is not None:
        hint = "give the baseline as the first --predictions"
        raise ConfigError("several systems are compared with the first of them", where="--baseline", hint=hint)
    files = [name for name, file in (("--references", references), ("--predictions", systems)) if file]
    if (run is None and len(files) == 2) or (run is not None and not files):
        return
    told = f"{files[0]} alone cannot be scored" if files else "nothing to score: no model and no files"
    told = "a model and files of answers cannot be scored at once" if run else told
    hint = "exgra eval RUN, or exgra eval --references FILE --predictions FILE; exgra eval --help"
    raise ConfigError(told, hint=hint)


def score_answers(
    references: Path,
    predictions: Path,
    baseline: Path | None,
    candidates: Path | None,
    rows: dict[str, Any],
    as_json: bool,
) -> None:
    from exgra.figures import put_comparison, put_figures
    from medmllm.evaluate.systems import score_files

    told = score_files(references, predictions, baseline=baseline, candidates=candidates, on_warning=warn, **rows)
    if as_json:
        put_json(told)
        return
    put_figures(told)
    if "comparison" in told:
        put_comparison(told["comparison"])


def compare_answers(
    references: Path, systems: dict[str, Path], candidates: Path | None, rows: dict[str, Any], as_json: bool
) -> None:
    """Score several systems on the same questions, and test each against the first."""
    from exgra.figures import put_systems
    from medmllm.evaluate.systems import Rule, score_systems

    told = score_systems(references, systems, Rule(candidates=candidates, **rows), on_warning=warn)
    put_json(told) if as_json else put_systems(told)


def ask(run: str, wanted: dict[str, Any], out: Path | None, baseline: Path | None, as_json: bool) -> None:
    """Let a model answer, and report how right it is."""
    from exgra.figures import put_columns, put_comparison
    from exgra.progress import listener, quiet_libraries
    from medmllm.evaluate.evaluate import evaluate_model as answer
    from medmllm.evaluate.exam import Asked

    quiet_libraries()
    with writing_to(out or Path(run)), going_on(keeps(run, out)), listener() as heard:
        scores = answer(run, Asked(**wanted), out=out, baseline=baseline, listener=heard)
    if as_json:
        put_json(scores)
        return
    put("\n".join([*scores_lines(wanted["split"], scores), ""]))
    put_columns(scores)
    if "comparison" in scores:
        put_comparison(scores["comparison"])


def keeps(run: str, out: Path | None) -> bool:
    """Whether answers are kept as they come: by a run's own folder, or where `--out` says."""
    return out is not None or (Path(run) / "model").is_dir()


def look_away(run: str, wanted: dict[str, Any], out: Path | None, as_json: bool) -> None:
    """Ask the same with changed images."""
    from exgra.figures import put_reliance
    from exgra.progress import listener, quiet_libraries
    from medmllm.evaluate.exam import Asked
    from medmllm.evaluate.probe import probe

    quiet_libraries()
    with writing_to(out or Path(run)), going_on(keeps(run, out)), listener() as heard:
        told = probe(run, Asked(**wanted), out=out, listener=heard)
    put_json(told) if as_json else put_reliance(told)


def choose_options(run: str, wanted: dict[str, Any], out: Path | None, as_json: bool) -> None:
    """Let the model choose among options."""
    from exgra.figures import put_choices
    from exgra.progress import listener, quiet_libraries
    from medmllm.evaluate.choice import classify
    from medmllm.evaluate.exam import Asked

    quiet_libraries()
    with writing_to(out or Path(run)), going_on(keeps(run, out)), listener() as heard:
        told = classify(run, Asked(**wanted), out=out, listener=heard)
    put_json(told) if as_json else put_choices(told)


def before_a_judge(
    run: str | None,
    wanted: dict[str, Any],
    files: tuple[Path | None, Path | None, Path | None],
    rows: dict[str, Any],
    out: Path | None,
    judge: tuple[str | None, str | None, str, float | None, int],
    as_json: bool,
) -> None:
    """Has free answers graded; exit 5 if some pairs got no grades."""
    from exgra.figures import put_grades
    from exgra.progress import listener, quiet_libraries
    from medmllm.endpoint import Endpoint
    from medmllm.errors import ConfigError
    from medmllm.evaluate.chatbot import Judge, judge_files, judge_run
    from medmllm.evaluate.exam import Asked

    url, name, key_env, per_minute, seed = judge
    if url is None or name is None:
        raise ConfigError("a judge is needed", where="--task chatbot", hint="--endpoint URL --judge NAME")
    by = Judge(Endpoint(url, name, key_env, per_minute=per_minute), seed=seed)
    references, predictions, baseline = files
    quiet_libraries()
    with writing_to(out or predictions or Path(str(run))), going_on(), listener() as heard:
        if references is not None and predictions is not None:
            progress = (out or predictions.parent) / f"{predictions.stem}.grades.jsonl"
            progress.parent.mkdir(parents=True, exist_ok=True)
            told = judge_files(
                references,
                predictions,
                by,
                progress,
                baseline=baseline,
                listener=heard,
                **rows,
            )
        else:
            told = judge_run(str(run), Asked(**wanted), by, out=out, listener=heard)
    put_json(told) if as_json else put_grades(told)
    raise typer.Exit(5 if told["failed"] else 0)

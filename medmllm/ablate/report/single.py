"""The report of one run: scores, curves, matchings and example answers."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphalign.counts import count_of
from medmllm.ablate.report.charts import curves
from medmllm.ablate.report.page import page
from medmllm.ablate.report.pictures import crop, pictures
from medmllm.errors import ConfigError, RunError, UserError, command_line
from medmllm.evaluate.measurable import WHY_NOT, measurable
from medmllm.evaluate.predict import NOTICE
from medmllm.run.folder import RunFolder
from medmllm.text.escaping import csv_cell, latex_cell, markdown_cell

HEAD = ("split", "part", "right %", "95 % interval", "guessing %", "questions")
EXAMPLES = 12
SCHEMA = 1
SPLITS = ("test", "test_slab", "validation")


def write_run_report(folder: Path, out: Path | None = None) -> list[Path]:
    """Write the report of a run into `out`, its own folder if not given, and return the paths.

    Raises:
        ConfigError: the folder is not a run, or the run has not ended.
        RunError: a file of the run is damaged.
    """
    run = RunFolder(folder)
    status = run.status()
    if status != "done":
        if not folder.is_dir():
            raise ConfigError("the folder does not exist", where=str(folder), hint="check the path")
        say = f"the run is not done, its status is {status}" if status else "the folder holds no run"
        again = command_line("train", "--resume", "--out", folder) if status else "give the folder of a run or a sweep"
        raise ConfigError(say, where=str(folder), hint=again)
    try:
        texts = _texts(run)
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration, RuntimeError) as error:
        what = f"a file of the run is damaged, summary.json or one in eval/ ({type(error).__name__}: {error})"
        hint = f"put it back, or write eval/ again: {command_line('eval', folder)}"
        raise RunError(what, where=str(folder), hint=hint) from error
    target = out or folder
    target.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        RunFolder(target).write_text(name, text)
    return [target / name for name in texts]


def _texts(run: RunFolder) -> dict[str, str]:
    """The files of the report by name."""
    rows = list(scores(run.read_json("summary.json")))
    return {
        "report.html": as_html(run, rows),
        "report.md": as_markdown(run, rows),
        "report.csv": as_csv(rows),
        "report.json": as_json(run),
        "table.tex": as_latex(rows),
    }


def scores(summary: dict[str, Any]) -> Iterator[list[str]]:
    """Rows of the table: every split as a whole, by group, and by kind of question."""
    for split in SPLITS:
        found = summary.get(split, {})
        whole = {"all": found} if found else {}
        for part, score in {**whole, **found.get("by_group", {}), **found.get("by_kind", {})}.items():
            if score["n"]:
                yield [split, part, *_figures(score)]


def as_csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([map(csv_cell, row) for row in (HEAD, *rows)])
    return text.getvalue()


def as_json(run: RunFolder) -> str:
    """The run's summary, under a version of its own."""
    return json.dumps({"schema": SCHEMA, **run.read_json("summary.json")}, indent=2, ensure_ascii=False) + "\n"


def as_latex(rows: list[list[str]]) -> str:
    """The table for a paper; it needs the package booktabs."""
    lines = [" & ".join(map(latex_cell, row)) + r" \\" for row in (HEAD, *rows)]
    return "\n".join(
        [
            r"\begin{tabular}{llrrrr}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def as_markdown(run: RunFolder, rows: list[list[str]]) -> str:
    texts = [HEAD, ["---"] * len(HEAD), *(list(map(markdown_cell, row)) for row in rows)]
    lines = [f"| {' | '.join(row)} |" for row in texts]
    return "\n".join([f"# {markdown_cell(_title(run))}", "", _lead(run), "", *lines, "", _note(run), ""])


def as_html(run: RunFolder, rows: list[list[str]]) -> str:
    """Return the report as one file that needs nothing else."""
    return page(
        "run",
        title=_title(run),
        lead=_lead(run),
        head=HEAD,
        rows=rows,
        words=2,
        note=_note(run),
        curves=list(curves({"this run": [run.lines()]})),
        matchings=list(pictures(run.path, "run", "This run")),
        cards=list(_cards(run)),
    )


def _title(run: RunFolder) -> str:
    summary = run.read_json("summary.json")
    return f"{summary['name']}, seed {summary['seed']}, {count_of(summary['steps'], 'step')}"


def _lead(run: RunFolder) -> str:
    summary = run.read_json("summary.json")
    test, matching = summary[_split(summary)], summary["matching"]
    low, high = (100 * end for end in test["interval"])
    before, after, chance = (100 * matching[key] for key in ("before", "after", "chance"))
    pairs = (
        f"Of the pairs in graphs of {matching['nodes']}, {before:.1f} % were found before training and {after:.1f} % "
        f"after it; chance is {chance:.1f} %."
    )
    gaps = run.gaps(summary["steps"])
    return (f"{gaps} " if gaps else "") + (
        f"{100 * test['accuracy']:.1f} % of {test['n']} held-out questions are answered right (95 % interval {low:.1f} "
        f"to {high:.1f}). {pairs if measurable(matching['chance']) else f'The matching is {WHY_NOT}.'}"
    )


def _note(run: RunFolder) -> str:
    """How to read the table, and what it is not for."""
    summary = run.read_json("summary.json")
    found = summary[_split(summary)]
    images = found.get("counted") == "images"
    drawn = count_of(found["subjects"], "image") if images else count_of(found["subjects"], "person", "people")
    return (
        f"Intervals are over {drawn}: they cover other {'images' if images else 'people'}, not another seed. Guessing "
        f"is the most frequent training answer to each question. {NOTICE}"
    )


def _split(summary: dict[str, Any]) -> str:
    """The split that the report is about: the first that was answered."""
    return next(split for split in SPLITS if split in summary)


def _figures(score: dict[str, Any]) -> list[str]:
    low, high = score["interval"]
    guess = "" if score.get("majority") is None else f"{100 * score['majority']:.1f}"
    return [f"{100 * score['accuracy']:.1f}", f"{100 * low:.1f} to {100 * high:.1f}", guess, str(score["n"])]


def _cards(run: RunFolder) -> Iterator[dict[str, Any]]:
    """Questions spread over the test, with image, answer and whether it is right."""
    split = _split(run.read_json("summary.json"))
    lines = (run.path / "eval" / f"{split}.samples.jsonl").read_text("utf-8").splitlines()
    samples = [json.loads(line) for line in lines[:: max(1, len(lines) // EXAMPLES)][:EXAMPLES]]
    images = _images(run, split, {sample["id"] for sample in samples})
    for sample in samples:
        right = "✓ right" if sample["correct"] else f"✗ wrong, the answer is “{sample['answer']}”"
        texts = (sample["question"], f"“{sample['prediction']}”", right)
        yield {"image": images.get(sample["id"]), "texts": texts}


def _images(run: RunFolder, split: str, wanted: set[str]) -> dict[str, str]:
    """Record -> a small image as JPEG in base 64; none where the data is no longer available."""
    from medmllm.data.source import shown_together
    from medmllm.data.sources import open_source
    from medmllm.settings.load import load_config

    try:
        source = open_source(load_config(str(run.path)).data, strict=False)
        return {r.id: _image(crop(shown_together(source, r))) for r in source.records(split) if r.id in wanted}
    except (UserError, OSError):
        return {}


def _image(image: Any) -> str:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()

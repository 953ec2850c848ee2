"""Writes the pages that are made from the code: run `python docs/make_reference.py` after a change.

`tests/test_reference.py` fails while a page is older than the code.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import runpy
import shlex
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from unittest import mock

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "medmllm"
RESULTS = DOCS.parent / "benchmarks" / "results"
FIGURES = (
    "solvers-cpu", "gradients-cpu", "learning-cpu", "step-7b-checkpointing-h200", "step-7b-h200",
    "step-7b-compiled-h200", "placement-h200", "step-cpu", "trainers-cpu", "side_by_side-cpu",
)  # fmt: skip
FAILURES = {
    "failure": "match images.npy texts.npy --graph 'knn(k=0)'",
    "problems": "config validate train.lr=-1 sede=2 solver.eps=1",
}
MADE = "<!-- Made by docs/make_reference.py; change the code, not this page. -->"
BOUNDS = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}
SPLITS = {
    "train": "training",
    "validation": "choices made while training",
    "test": "people never seen",
    "test_slab": "unseen slabs of people seen in training",
}


def main() -> None:
    """Writes every page."""
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """Every page that is made, or made in part, with the text that it should have."""
    data, benchmarks, evidence = DOCS / "data.md", DOCS / "benchmarks.md", DOCS / "evidence.md"
    reproduction, choose = DOCS / "reproduction.md", DOCS / "choose.md"
    exits = DOCS / "reference" / "exit-codes.md"
    align = DOCS / "align.md"
    exports = DOCS / "exports.md"
    return {
        align: with_few_pairs(align.read_text("utf-8")),
        exports: with_exports(exports.read_text("utf-8")),
        DOCS / "reference" / "config.md": config_page(),
        DOCS / "reference" / "cli.md": cli_page(),
        exits: with_failures(exits.read_text("utf-8")),
        data: with_rows(data.read_text("utf-8")),
        benchmarks: with_figures(benchmarks.read_text("utf-8")),
        choose: with_wrong_pairs(with_estimators(choose.read_text("utf-8"))),
        reproduction: with_presets(reproduction.read_text("utf-8")),
        evidence: with_published(with_findings(evidence.read_text("utf-8"))),
    }


# --- settings -------------------------------------------------------------------------------------------------------


def config_page() -> str:
    """Every configuration key, with type, default and meaning."""
    from medmllm.settings.schema import Config, StageConfig

    parts = ["# Settings", MADE, CONFIG_HEAD]
    own = {name: field for name, field in Config.model_fields.items() if not is_section(field)}
    parts += ["## The run", table(settings(own, ""))]
    for name, field in Config.model_fields.items():
        if is_section(field):
            parts += [f"## {name}", table(section(field.annotation, f"{name}."))]
    parts += ["## A stage { #stage }", STAGE_HEAD, table(settings(StageConfig.model_fields, "train.stages.N."))]
    return "\n\n".join(parts) + "\n"


CONFIG_HEAD = """\
A setting is `KEY=VALUE` on the command line, and the same key in a YAML file. A key that does not exist, or a value out
of its range, is an error that names the nearest right one; all errors of a configuration are reported at once.

```console
$ exgra train train.lr=1e-3 align.barycenter=pairwise
$ exgra config cp demo mine.yaml
$ exgra train mine.yaml
```

Values are YAML: `1e-3` is a number, `null` is none, `[a, b]` is a list. `exgra config schema` prints the JSON schema
that editors complete from."""

STAGE_HEAD = """\
`train.stages` is a list. One entry is changed by its number, as in `train.stages.0.share=0.2`; a YAML file gives the
whole list."""


def section(model: Any, prefix: str) -> Iterator[tuple[str, ...]]:
    """Rows of a section and of those inside it."""
    yield from settings({n: f for n, f in model.model_fields.items() if not is_section(f)}, prefix)
    for name, field in model.model_fields.items():
        if is_section(field):
            yield from section(field.annotation, f"{prefix}{name}.")


def settings(fields: Mapping[str, FieldInfo], prefix: str) -> Iterator[tuple[str, ...]]:
    for name, field in fields.items():
        yield f"`{prefix}{name}`", kind(field), default(field), field.description or ""


def is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def kind(field: FieldInfo) -> str:
    """The type of a setting in words, with its range."""
    found = [(*BOUNDS[type(m)], m) for m in field.metadata if type(m) in BOUNDS]
    limits = [f"{sign} {number(getattr(bound, name))}" for sign, name, bound in found]
    limits += ["not empty" for m in field.metadata if isinstance(m, MinLen)]
    return ", ".join([words(field.annotation), *limits])


def number(value: float) -> str:
    """A bound as people write it."""
    return f"{value:,}" if isinstance(value, int) and value < 10**12 else f"{value:g}"


def words(annotation: Any) -> str:
    """A type as people say it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(words(argument) for argument in arguments)
    if origin is Annotated:
        return words(arguments[0])
    if origin is tuple:
        return f"list of {words(arguments[0])}"
    names = {str: "text", int: "whole number", float: "number", bool: "`true` \\| `false`", type(None): "`null`"}
    return names.get(annotation, "[stages](#stage)")


def default(field: FieldInfo) -> str:
    """The default as YAML, or a word where there is none to show."""
    value = field.get_default()
    if field.is_required():
        return "needed"
    if isinstance(value, tuple):
        return ", ".join(f"`{getattr(item, 'name', item)}`" for item in value)
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


# --- commands -------------------------------------------------------------------------------------------------------


def cli_page() -> str:
    """Every command with its arguments and options."""
    from typer.main import get_command

    from exgra.app import app

    parts = ["# Commands", MADE, CLI_HEAD]
    for name, command in leaves(get_command(app), "exgra"):
        parts += [f"## {name}", str(command.help), table(parameters(command), ("word", "meaning", "default"))]
    return "\n\n".join(parts) + "\n"


CLI_HEAD = """\
In a clone, write `./exgra` for `exgra`. Results go to stdout and messages to stderr, so `--json` gives exactly one
document. The [exit codes](exit-codes.md) are the same for all commands."""


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The commands that do something, under their full names."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for word, child in below.items():
        yield from leaves(child, f"{name} {word}")


def parameters(command: Any) -> Iterator[tuple[str, ...]]:
    for parameter in command.params:
        flag = parameter.param_type_name == "option"
        written = parameter.opts if flag else [parameter.metavar.replace("|", "\\|")]
        names = ", ".join(f"`{name}`" for name in written)
        shown = parameter.default not in (None, False, [], "")
        yield names, getattr(parameter, "help", "") or "", f"`{parameter.default}`" if shown and flag else ""


# --- failures -------------------------------------------------------------------------------------------------------


def with_failures(page: str) -> str:
    """The page of exit codes with what wrong commands really say."""
    for name, command in FAILURES.items():
        page = filled(page, name, f"```console\n$ exgra {command}\n{failure(command)}```")
    return page


def failure(command: str) -> str:
    """Messages on stderr of a command that cannot work."""
    from exgra.main import run

    told = io.StringIO()
    with redirect_stderr(told):
        run(shlex.split(command))
    return told.getvalue()


# --- data -----------------------------------------------------------------------------------------------------------


def with_rows(page: str) -> str:
    """The data page with the counts of the embedded data set between its markers."""
    return filled(page, "rows", rows())


def rows() -> str:
    manifest = json.loads((PACKAGE / "data" / "embedded" / "manifest.json").read_text("utf-8"))
    counted = ((name, manifest["splits"][name]) for name in SPLITS)
    cells = [
        (f"`{name}`", SPLITS[name], *(f"{s[key]:,}" for key in ("rows", "images", "subjects"))) for name, s in counted
    ]
    return table(cells, ("split", "for", "rows", "pictures", "people"))


# --- choices --------------------------------------------------------------------------------------------------------


def with_estimators(page: str) -> str:
    """The page of choices with what encoders learn with each estimator, and its figures on the smallest problems."""
    found, learnt = measured("gradients-cpu"), learning()
    plain = [row for row in found if row["case"] == "3x3 random" and "(" not in row["contender"]]
    body = [(f"`{row['contender']}`", *learnt.pop(row["contender"], ("", "")), *small_problem(row)) for row in plain]
    head = ("estimator", "learnt in 60 steps", "in 300", "bias", "spread", "cosine", "solves")
    page = filled(page, "estimators", table(body, head) if body else "Not measured yet.")
    others = table(((f"`{name}`", *shares) for name, shares in learnt.items()), ("trained with", *head[1:3]))
    return filled(page, "learning", others if learnt else "Not measured yet.")


def small_problem(row: dict[str, Any]) -> tuple[str, ...]:
    """Figures of an estimator beside an exact gradient."""
    return (*(f"{row[name]:.2f}" for name in ("bias", "std", "cosine")), str(row["solves"]))


def learning() -> dict[str, tuple[str, ...]]:
    """The shares that encoders learnt to match at 64 nodes, in 60 and in 300 steps, by what they were trained with."""
    from graphalign.bench.tables import share

    found: dict[str, tuple[str, ...]] = {}
    for row in measured("learning-cpu"):
        if row["nodes"] == 64:
            found[row["contender"]] = (*found.get(row["contender"], ()), share(row["matched"]))
    return found


def measured(name: str) -> list[dict[str, Any]]:
    """The rows of a document of `benchmarks/results`; none if there is no document."""
    path = RESULTS / f"{name}.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    return rows


# --- presets --------------------------------------------------------------------------------------------------------


def with_presets(page: str) -> str:
    """The page of reproduction with what each large preset is and costs, by the head of its file."""
    return filled(page, "presets", table(presets(), ("preset", "what", "computed need")))


def presets() -> Iterator[tuple[str, ...]]:
    for path in sorted((PACKAGE / "configs").glob("*.yaml")):
        head = [line[2:] for line in path.read_text("utf-8").splitlines() if line.startswith("# ")]
        needs = [line.removeprefix("Computed: ").rstrip(".") for line in head if line.startswith("Computed: ")]
        if needs:
            yield f"`{path.stem}`", head[0], needs[0]


# --- benchmarks -----------------------------------------------------------------------------------------------------


def with_figures(page: str) -> str:
    """The page of benchmarks with the tables of `benchmarks/results` between its markers."""
    for name in FIGURES:
        page = filled(page, name, figures(RESULTS / f"{name}.json"))
    return page


def with_few_pairs(page: str) -> str:
    """The page of few known pairs with the tables of its benchmarks."""
    for name in ("few_pairs", "students", "projectors"):
        page = filled(page, name.replace("_", "-"), program_table(name))
    return page


def with_wrong_pairs(page: str) -> str:
    """The page of choices with the table of the benchmark of wrong pairs."""
    return filled(page, "wrong-pairs", program_table("wrong_pairs"))


def program_table(name: str) -> str:
    """The table that a program of `benchmarks/` makes of its committed results."""
    rows = json.loads((RESULTS / f"{name.replace('_', '-')}-cpu.json").read_text("utf-8"))["rows"]
    with mock.patch.object(sys, "path", [str(RESULTS.parent), *sys.path]):  # they import their neighbours
        made: str = runpy.run_path(str(RESULTS.parent / f"{name}.py"))["table"](rows)
    return made


def with_exports(page: str) -> str:
    """The page of exports with the tables of its benchmark."""
    document = json.loads(gzip.decompress((RESULTS / "exports-cpu.json.gz").read_bytes()))
    return filled(page, "exports", runpy.run_path(str(RESULTS.parent / "exports.py"))["table"](document).strip())


def with_findings(page: str) -> str:
    """The page of evidence with every figure made again from the findings in `benchmarks/results`."""
    from medmllm.ablate.report.quote import quoted

    return quoted(page, RESULTS)


def with_published(page: str) -> str:
    """The page of evidence with the paper's figures, and what would make them again at which computed cost."""
    told = json.loads((RESULTS / "published.json").read_text("utf-8"))["rows"]
    head = ("published", "VQA-RAD", "SLAKE", "PathVQA", "stage 2 here", "computed cost of it")
    body = [(row["what"], *(percent(row[key]) for key in SETS), run_of(row), cost_of(row)) for row in told]
    return filled(page, "published", table(body, head))


def cost_of(row: dict[str, Any]) -> str:
    """What `exgra train PRESET SETTINGS --dry-run` computes on the GPUs that the preset names."""
    needs = next(needs for name, _, needs in presets() if name.strip("`") == row["preset"])
    if not row["settings"]:
        return needs  # which a test compares with the plan
    gpus, card = re.search(r"(\d+) x ([\w-]+),", needs).groups()  # type: ignore[union-attr]
    return planned(row["preset"], tuple(row["settings"].split()), int(gpus), card)


@cache
def planned(preset: str, settings: tuple[str, ...], gpus: int, card: str) -> str:
    """Memory and time of a plan, as the head of a preset says them."""
    from exgra.screen import duration
    from medmllm.planning.cost import costs
    from medmllm.settings.load import load_config

    found = costs(load_config(preset, settings), gpus=gpus, card=card)
    memory, hours = max(stage.total for stage in found), sum(stage.hours or 0.0 for stage in found)
    return f"{memory:.0f} GB on each of {gpus} x {card}, {duration(3600 * hours)}"


SETS = ("vqa_rad", "slake", "pathvqa")


def run_of(row: dict[str, Any]) -> str:
    """The commands behind a published figure."""
    command = " ".join(["exgra train", row["preset"], row["settings"]]).strip()
    return ", then ".join(f"`{line}`" for line in (row.get("before"), command) if line)


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def figures(path: Path) -> str:
    """The tables of one document of `benchmarks/results`, or a word that there is none."""
    from graphalign.bench.tables import markdown
    from medmllm.bench import tables

    makers = {"step": tables.markdown, "placement": tables.placement}
    name = path.stem.partition("-")[0]
    if name in ("trainers", "side_by_side"):
        makers[name] = runpy.run_path(str(RESULTS.parent / f"{name}.py"))["table"]
    make = makers.get(name, markdown)
    return make(json.loads(path.read_text("utf-8"))).strip() if path.exists() else "Not measured yet."


def filled(page: str, name: str, text: str) -> str:
    """The page with the text between its markers of that name."""
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.partition(first)
    return f"{before}{first}\n{text}\n{last}{rest.partition(last)[2]}"


def table(body: Any, head: tuple[str, ...] = ("key", "value", "default", "meaning")) -> str:
    lines = [head, ("---",) * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    main()

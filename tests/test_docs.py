"""The documentation builds strictly and needs nothing from outside."""

import json
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = {page.relative_to(ROOT).as_posix(): page for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]}
BELOW = re.compile(r"^```python\n((?:(?!^```).)*)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_no_page_loads_anything_from_outside(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 3
    outside = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^\s>]*")
    found = {page.name: outside.findall(page.read_text("utf-8")) for page in pages}
    canonical = {name: [link for link in links if "canonical" not in link] for name, links in found.items()}
    assert not any(canonical.values()), canonical


def test_formulas_are_drawn_by_files_of_our_own(site):
    page = (site / "index.html").read_text("utf-8")
    for name in ("vendor/katex/katex.min.js", "vendor/katex/katex.min.css", "vendor/katex/contrib/auto-render.min.js"):
        assert name in page
        assert (site / name).is_file()
    assert (site / "vendor/katex/LICENSE").is_file()


def fences(name, language):
    """Line number and text of every fence of a page in a language."""
    text = PAGES[name].read_text("utf-8")
    found = (match for match in FENCE.finditer(text) if match[1] == language)
    return [(text.count("\n", 0, match.start(2)), match[2]) for match in found]


SERVED = "docs/serving.md"  # its program asks a server: tests/cli/test_serve.py runs both


@pytest.mark.parametrize("name", [name for name in PAGES if fences(name, "python") and name != SERVED])
def test_programs_of_a_page_run_in_order(name, tmp_path, monkeypatch):
    """In an empty folder, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "docs" / "extend" / "example")  # what a reader has installed by then
    run_programs(name)


def run_programs(name):
    page, said = {"__name__": "page"}, StringIO()
    expected = outputs(name)
    with redirect_stdout(said):
        for line, code in fences(name, "python"):
            begun = said.tell()
            exec(compile("\n" * line + code, name, "exec"), page)
            assert line not in expected or said.getvalue()[begun:] == expected[line], f"{name}:{line}"


def outputs(name):
    """The printed output that a page gives in a text fence right below a program, by the program's line number."""
    text = PAGES[name].read_text("utf-8")
    return {text.count("\n", 0, match.start(1)): match[2] for match in BELOW.finditer(text)}


def test_outputs_are_found():
    assert len(outputs("docs/tutorials/first-matching.md")) >= 5


def test_no_program_is_passed_over():
    counts = {name: len(fences(name, "python")) for name in PAGES}
    marked = re.compile(r"^\s*(?:```|~~~)\s*\{?\s*\.?(?:py|python|pycon)\b", re.MULTILINE | re.IGNORECASE)
    assert counts == {name: len(marked.findall(page.read_text("utf-8"))) for name, page in PAGES.items()}
    assert sum(counts.values()) >= 10


CALL = re.compile(r"(?:^\s*\$ (?:\./)?|-m )exgra (.*)", re.MULTILINE)


def calls(text):
    """Every call of the command line in a text, as words after `exgra`; one may continue over several lines."""
    return [call.partition(" #")[0].strip() for call in CALL.findall(re.sub(r"\\\n\s*", "", text))]


def commands():
    """Every call that a page shows in a terminal or a script."""
    shown = (text for name in PAGES for language in ("console", "bash") for _, text in fences(name, language))
    return sorted({call for text in shown for call in calls(text)})


# Fewer steps of a smaller model than the page asks for, and of nine runs the plan.
QUICK = ["train.steps=2", "model.vision.layers=1", "model.language.layers=1", "device=cpu"]
SHORTER = {"train": QUICK, "ablate": [*QUICK, "--dry-run"]}


def test_the_way_from_dicom_to_a_run_can_be_walked(tmp_path, monkeypatch, capfd):
    """Every command of the page on your own data, one after the other, in an empty folder."""
    from exgra.main import run

    monkeypatch.chdir(tmp_path)
    run_programs("docs/own-data.md")
    for _, text in fences("docs/own-data.md", "console"):
        for call in calls(text):
            words = [word for word in shlex.split(call) if not word.startswith("train.steps=")]
            assert run([*words, *SHORTER.get(words[0], [])]) == 0, capfd.readouterr().err
    (done,) = tmp_path.glob("runs/*/summary.json")
    assert json.loads(done.read_text("utf-8"))["status"] == "done"


def test_embeddings_are_matched_as_the_page_shows(tmp_path, monkeypatch, capfd):
    """The files of the page, then its commands, in an empty folder."""
    from exgra.main import run

    monkeypatch.chdir(tmp_path)
    run_programs("docs/match.md")
    calls_of_page = [call for _, text in fences("docs/match.md", "console") for call in calls(text)]
    assert len(calls_of_page) >= 2
    for call in calls_of_page:
        assert run(shlex.split(call)) == 0, capfd.readouterr().err
    (pair,) = json.loads((tmp_path / "found-by-edges" / "summary.json").read_text("utf-8"))["pairs"]
    assert {"right", "of", "accuracy", "precision", "chance"} <= set(pair)
    assert pair["accuracy"] > 0.5 > pair["chance"]


def test_no_call_is_passed_over():
    shown = {call for page in PAGES.values() for call in calls(page.read_text("utf-8"))}
    assert shown <= set(commands())
    others = re.compile(r"^\s*(?:```|~~~)\s*(?:sh|shell|zsh|ps1)\b", re.MULTILINE)
    assert [name for name, page in PAGES.items() if others.search(page.read_text("utf-8"))] == []


def test_calls_are_found():
    assert {"train --solver hungarian --estimator imle", "train align.weight=0"} <= set(commands())


@pytest.mark.parametrize("call", commands())
def test_commands_and_options_exist(call):
    from typer.main import get_command

    from exgra.app import app

    command, words = get_command(app), shlex.split(call)
    if words[0] in ("test", "docs"):  # the launcher's own
        return
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


# Parts that the pages write themselves, which are not installed here; tests/cli/test_extend.py installs them.
WRITTEN = {
    "bidding(eps=0.001)": "lap",
    "bidding": "lap",
    "antithetic": "imle",
    "mutual(k=8)": "knn(k=8)",
    "hardest_negative(margin=0.3)": "infonce",
}


@pytest.mark.parametrize("call", [call for call in commands() if call.startswith("train ")])
def test_settings_exist(call):
    from medmllm.settings.load import load_config

    for written, known in WRITTEN.items():
        call = call.replace(written, known)
    words = shlex.split(call)
    settings = [word for word in words if re.match(r"[\w.]+=", word)]
    named = {word.replace("--", "align."): value for word, value in pairwise(words)}
    parts = {key: value for key, value in named.items() if key in ("align.solver", "align.estimator")}
    load_config("demo", settings, parts)


@pytest.mark.parametrize("name", PAGES)
def test_files_that_a_page_shows_or_links_exist(name):
    prose = FENCE.sub("", PAGES[name].read_text("utf-8"))
    links = re.findall(r"\]\(([^)#\s]+)", prose)
    files = [link for link in links if "://" not in link]
    assert [link for link in files if not (PAGES[name].parent / link).exists()] == []


SET = re.compile(r"(?:--data|--references|data prepare|data validate|data stats|data describe)[ =]([\w./-]+)")


@pytest.mark.parametrize("name", PAGES)
def test_named_data_sets_exist(name):
    """A data set without an ending or a folder is a name of `exgra data list`; capitals are for the reader to fill."""
    from medmllm.data.catalog import NAMES

    text = PAGES[name].read_text("utf-8")
    named = {word.rstrip(".") for word in SET.findall(text)}
    plain = {word for word in named if re.fullmatch(r"[a-z][a-z_-]*", word) and f"{word}/" not in text}
    assert plain <= set(NAMES)


def test_figures_of_presets_are_those_of_their_files():
    page = PAGES["docs/7b.md"].read_text("utf-8")
    for path in (ROOT / "medmllm/configs").glob("*7b*.yaml"):
        told = re.search(r"^# Computed: (\d+ GB) on each of (.*?), (.*)\.$", path.read_text("utf-8"), re.MULTILINE)
        row = re.search(rf"^\| `{path.stem}` \|.*$", page, re.MULTILINE)
        if told and row:
            assert row[0].endswith(f"| {told[2]} | {told[1]} | {told[3]} |")

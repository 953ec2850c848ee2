"""A report is whole, needs nothing else, and can be read by everyone."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from medmllm.ablate.findings import Findings
from medmllm.ablate.grid import load_grid
from medmllm.ablate.report import write_report, write_run_report
from medmllm.ablate.report.charts import curves
from medmllm.ablate.report.tables import signed
from medmllm.ablate.results import analyse
from medmllm.ablate.sweep import Sweep
from medmllm.errors import ConfigError
from medmllm.training.trainer import train


class Page(HTMLParser):
    """Links, pictures and alternative texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.ids, self.pictures, self.untold = [], [], 0, 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.loads += [known[key] for key in ("src", "href", "srcset", "poster", "action") if key in known]
        self.ids += [known["id"]] if "id" in known else []
        if tag in ("svg", "img"):
            self.pictures += 1
            self.untold += not known.get("alt") if tag == "img" else known.get("role") != "img"
        assert tag not in ("script", "link", "iframe", "object", "embed", "base"), tag


def check(text):
    page = Page(text)
    assert page.pictures > 0
    assert page.untold == 0
    assert all(re.match(r"#|data:image/", link) for link in page.loads), page.loads
    assert len(page.ids) == len(set(page.ids))
    assert re.findall(r"<svg [^>]*>(?!<title id=\"[^\"]+\">[^<]{10})", text) == []
    assert not re.search(r"https?://|@import|url\((?!#)", re.sub(r'xmlns(:\w+)?="[^"]*"', "", text))
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport" content="width=device-width' in text
    return page


@pytest.fixture
def written(sweep, tmp_path):
    results = analyse(Findings.of(sweep))
    return results, {path.name: path.read_text("utf-8") for path in write_report(results, tmp_path / "r", sweep.cells)}


def test_the_page_loads_nothing_and_tells_every_picture_in_words(written):
    page = check(written[1]["report.html"])
    assert page.pictures >= 4


def test_every_file_says_what_failed_and_what_was_left_out(written):
    _, files = written
    assert set(files) == {"report.html", "report.md", "results.csv", "results.json", "table.tex"}
    for name in ("report.html", "report.md", "results.csv", "results.json"):
        assert "training diverged at step 2" in files[name], name
        assert "implicit needs a solver" in files[name], name


def test_tables_have_as_many_cells_in_every_row(written):
    results, files = written
    markdown = [line.count(" | ") for line in files["report.md"].splitlines() if line.startswith("|")]
    assert len(markdown) == 2 + len(results.arms)
    assert len(set(markdown)) == 1
    latex = [line for line in files["table.tex"].splitlines() if line.endswith(r"\\")]
    assert len({line.count(" & ") for line in latex}) == 1
    rows = list(csv.DictReader(files["results.csv"].splitlines()))
    assert len(rows) == len(results.runs)
    done = [float(row["accuracy"]) for row in rows if row["status"] == "done"]
    assert done == [run.accuracy for run in results.runs if run.status == "done"]


def test_the_document_has_a_version_and_the_figures(written):
    results, files = written
    saved = json.loads(files["results.json"])
    assert saved["schema"] == 2
    assert [arm["verdict"] for arm in saved["arms"][:3]] == ["better", "-", "worse"]
    assert saved["arms"][0]["comparison"]["difference"] == results.arms[0].comparison.difference


def test_names_with_signs_of_html_and_latex_are_only_text(grid_file, known, tmp_path):
    axes = {"<b>&_%": {"a|b": {"align.graph": "knn(k=5)"}, "<i>$x$": {"align.graph": "knn(k=3)"}}}
    sweep = Sweep.open(load_grid(grid_file(axes=axes)), tmp_path / "runs" / "s")
    sweep.run(1, lambda *_: None)
    files = {
        path.name: path.read_text("utf-8") for path in write_report(analyse(Findings.of(sweep)), tmp_path / "r", None)
    }
    check(files["report.html"])
    assert "<b>&_%" not in files["report.html"]
    assert r"\&\_\%" in files["table.tex"]
    assert r"a\|b" in files["report.md"]


def test_a_run_has_a_report_with_its_matchings(tiny, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ConfigError, match="holds no run"):
        write_run_report(tmp_path)
    train(tiny(), folder)
    files = {path.name: path.read_text("utf-8") for path in write_run_report(folder, tmp_path / "out")}
    assert set(files) == {"report.html", "report.md", "report.csv", "report.json", "table.tex"}
    check(files["report.html"])
    for title in (
        "Matching before and after",
        "Which image found which caption",
        "Where an image is like its caption",
        "Views before and after",
    ):
        assert title in files["report.html"]
    assert json.loads(files["report.json"])["schema"] == 1
    people = json.loads((folder / "summary.json").read_text())["test"]["subjects"]
    for name in ("report.html", "report.md"):
        assert f"Intervals are over {people} images: they cover other images, not another seed" in files[name]
        assert "not a medical device" in files[name]
    assert "Bands span" not in files["report.html"]
    assert "best points" not in files["report.html"]


def test_curves_tell_of_bands_and_ranks_only_where_there_are_some():
    lines = [{"step": step, "validation": {"accuracy": 1.0 - 0.001 * (step == 1)}} for step in (1, 2)]
    other = [{**line, "validation": {"accuracy": 0.5}} for line in lines]
    alone, two, seeds = (
        next(curves(runs)) for runs in ({"a": [lines]}, {"a": [lines], "b": [other]}, {"a": [lines, other]})
    )
    assert [("Bands span" in p.caption, "best points" in p.caption) for p in (alone, two, seeds)] == [
        (False, False),
        (False, True),
        (True, False),
    ]
    ticks = [float(x) for p in (alone, two, seeds) for x in re.findall(r">([\d.]+) %<", p.svg)]
    assert max(ticks) == 100


def test_equal_answers_are_no_proof_that_there_is_no_effect(sweep, tmp_path):
    findings = Findings.of(sweep)
    right = {run.seed: run.right for run in findings.runs if run.point == {"arm": "even"}}
    equal = [replace(run, right=right[run.seed]) if run.point == {"arm": "good"} else run for run in findings.runs]
    results = analyse(replace(findings, runs=tuple(equal)))
    files = {path.name: path.read_text("utf-8") for path in write_report(results, tmp_path / "r", None)}
    arm = next(arm for arm in results.arms if arm.label == "good")
    assert arm.verdict == "equal answers"
    assert re.search(r"\| good \|[^|]*\| 4 \| equal answers \|  \|  \|  \|", files["report.md"])
    assert re.search(r"& good &[^&]*& 4 & equal answers &  &  &  &", files["table.tex"])
    assert "<td>equal answers</td><td></td><td></td><td></td>" in files["report.html"]
    assert "good: 0.0 points" not in files["report.html"]
    saved = next(one for one in json.loads(files["results.json"])["arms"] if one["point"] == {"arm": "good"})
    assert (saved["verdict"], saved["p_holm"], saved["comparison"]["visible"]) == ("equal answers", None, None)


def test_what_lies_below_guessing_is_said(sweep, tmp_path):
    def files(shares):
        runs = [replace(run, guessing=shares.get(run.seed)) if run.status == "done" else run for run in findings.runs]
        written = write_report(analyse(replace(findings, runs=tuple(runs)), compared=False), tmp_path / "r", None)
        return [path.read_text("utf-8") for path in written if path.name in ("report.html", "report.md")]

    findings = Findings.of(sweep)
    for text in files(dict.fromkeys(range(4), 0.7)):
        assert "is right in 70.0 %. Below that: even; bad." in text
    for text in files(dict.fromkeys(range(4), 0.0)):
        assert "is right in 0.0 %. No point is below that." in text
    for text in files(dict.fromkeys(range(4), 1.0)):
        assert "No point is above it." in text
    for text in files({}):
        assert "Guessing" not in text


def test_numbers_are_told_with_their_axis_and_a_missing_control_is_named(grid_file, known, tmp_path):
    def files(**grid):
        sweep = Sweep.open(load_grid(grid_file(seeds=2, **grid)), tmp_path / "runs" / grid["name"])
        sweep.run(1, lambda *_: None)
        written = write_report(analyse(Findings.of(sweep)), tmp_path / "r", None)
        return {path.name: path.read_text("utf-8") for path in written}

    alone = files(name="alone", axes={"weight": [0, 3]})
    assert "compared with weight = 0." in alone["report.md"]
    assert "weight = 3" in alone["report.html"]
    plain, captions = {"align.weight": 0}, {"align.weight": 0, "train.caption_weight": 1}
    whole = files(name="whole", axes={"arm": {"plain": plain, "captions": captions, "graph": {}}})
    assert "compared with plain." in whole["report.md"]
    for name in ("report.md", "report.html"):
        assert "The control is missing" in alone[name]
        assert "The control is missing" not in whole[name]


def test_nothing_has_no_sign():
    assert [signed(x) for x in (0.0, -0.0004, 0.0004, 0.021, -0.3)] == ["0.0", "0.0", "0.0", "+2.1", "-30.0"]

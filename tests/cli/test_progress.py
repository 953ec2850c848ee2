"""A bar where it can be redrawn, plain lines elsewhere, and a story that needs no figure it was not given."""

import io
import re
import sys
from pathlib import Path

import pytest

from exgra import figures, progress, screen, story
from medmllm.evaluate.items import Item
from medmllm.evaluate.report import score_items, score_report

METRICS = {"loss": 1.25, "matching_accuracy": 0.5}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("CI", "true")])
def test_a_terminal_has_a_bar_unless_it_says_no(monkeypatch, name, value):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with progress.listener() as ear:
        assert isinstance(ear, progress.Bar)
        ear.message("hello")
        ear.step(1, 2, METRICS)
    monkeypatch.setenv(name, value)
    with progress.listener() as ear:
        assert isinstance(ear, progress.Lines)


def test_no_colour_is_written_where_none_is_wanted(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stderr", Terminal())
    with progress.listener() as ear:
        ear.step(1, 2, METRICS)
        ear.message("hello")
    text = sys.stderr.getvalue()
    assert "hello" in text
    assert not re.search(r"\x1b\[[\d;]*[39]\dm", text)


def test_lines_come_every_few_seconds_and_at_the_end(monkeypatch, capsys):
    clock = iter([0, 1, 2, 6, 7, 8, 9])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    lines = progress.Lines()
    for step in range(1, 6):
        lines.step(step, 5, METRICS)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" · ")[0] for line in said] == ["step 3/5", "step 5/5"]
    assert "loss 1.250 · matching 50.0 %" in said[0]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (7500, "2 h 05 min")])
def test_durations(seconds, text):
    assert screen.duration(seconds) == text


def test_a_table_in_a_pipe_is_never_cut(capsys):
    screen.put_table(["name", "what"], [("a", "x" * 300), ("longer", "y")])
    assert capsys.readouterr().out.splitlines() == ["name    what", "a       " + "x" * 300, "longer  y"]


def test_a_table_on_a_terminal_is_folded(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    screen.put_table(["name", "what"], [("a", "word " * 40)])
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("word") for line in lines) == 40


def test_a_split_without_questions_is_told_as_such():
    scores = {"accuracy": None, "interval": None, "n": 0, "majority": None, "by_kind": {}, "by_group": {}}
    assert story.scores_lines("test", scores) == ["  test      held-out questions: no questions"]


def test_an_interval_over_few_people_is_told_as_uncertain():
    scores = {"accuracy": 0.75, "interval": [0.58, 0.92], "n": 28, "subjects": 8, "counted": "people", "by_kind": {}}
    head, warning = story.scores_lines("test", scores)
    assert head.endswith("75.0 % right [58 to 92], n = 28 questions about 8 people")
    assert warning.strip() == "(few people: the interval itself is uncertain)"
    assert len(story.scores_lines("test", {**scores, "subjects": 30})) == 1


def test_rows_left_out_are_told():
    (line,) = story.left_out_lines({"left_out": {"train": 2, "test": 1}})
    assert line.startswith("  left out  2 training, 1 test rows")
    assert story.left_out_lines({"left_out": {}}) == []


def test_kinds_are_ranked_only_where_that_says_something():
    def kinds(**found):
        told = {name: {"accuracy": share, "n": n, "majority": 0.5} for name, (share, n) in found.items()}
        return story.kind_lines(told)

    assert kinds(side=(0.9, 40), organ=(0.2, 40), level=(1.0, 3)) == [
        "  best      side 90.0 % (guessing 50.0 %)",
        "  worst     organ 20.0 % (guessing 50.0 %)",
    ]
    assert kinds(side=(0.0, 4), organ=(0.0, 90)) == [
        "  kinds     none of the 2 kinds of question was answered right even once"
    ]
    (few,) = kinds(side=(0.5, 4), organ=(0.0, 2))
    assert "too few questions" in few
    assert len(few) <= 80
    assert kinds(side=(0.5, 40), organ=(None, 0)) == []


def test_the_story_of_any_run_fits_a_screen():
    kinds = {name: {"accuracy": 0.5, "n": 19, "majority": 0.25} for name in ("organ present", "larger lung", "b", "c")}
    scores = {"accuracy": 0.35, "interval": [0.3, 0.43], "n": 2062, "majority": 0.36, "by_kind": kinds}
    matching = {"before": 0.039, "after": 0.098, "chance": 0.034, "nodes": 32}
    summary = {"steps": 60, "seed": 0, "seconds": 320.0, "matching": matching, "align": {"weight": 1.0}}
    told = "\n".join(story.story_lines({**summary, "test": scores, "test_slab": scores}, Path("runs/first")))
    assert max(map(len, told.splitlines())) <= 80
    assert "guessing 36.0 %" in " ".join(told.split())


def test_a_matching_of_rows_that_are_all_alike_is_not_measurable():
    """Every pair of equal captions is right, so 100 % against a chance of 100 % does not count as success."""
    (line,) = story.matching_lines({"matching": {"before": 1.0, "after": 1.0, "chance": 1.0, "nodes": 8}})
    assert "not measurable: the held-out rows of a graph have the same caption" in line
    assert "100" not in line
    told = progress.validation(5, {"matching_accuracy": 1.0, "matching_chance": 1.0, "accuracy": 0.5})
    assert told == "validation after step 5: 50.0 % of the answers right, matching not measurable"


def test_empty_answers_are_counted_among_the_answers(capsys):
    said = [Item(str(n), "Is it?", "yes", "" if n < 2 else "yes", closed=True, cluster=str(n)) for n in range(6)]
    figures.put_columns(score_report(score_items(said)))
    assert (
        "0 open and 6 closed questions; 2 of the texts give no answer (2 empty) and count as wrong"
        in capsys.readouterr().out
    )

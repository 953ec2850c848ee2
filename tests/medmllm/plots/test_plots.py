"""Pictures: what they show, what they survive, and that they leave matplotlib's global state alone."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from graphalign.extras import pip_line
from medmllm.ablate.report import charts
from medmllm.data.records import Record
from medmllm.errors import MissingExtraError
from medmllm.evaluate.scores import Sample
from medmllm.plots import example_images, matching_heatmap, plot_curves

LINES = [
    {"step": 10 * i, "stage": "a" if i < 4 else "b", "loss_lm": 5 / i, "grad_norm": 1 / i, "lr": 0.1}
    for i in range(1, 9)
]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []
    for module in ("curves", "examples", "matching"):
        home = sys.modules[f"medmllm.plots.{module}"]

        def keep(figure, path, save=home.save):
            figures.append(figure)
            return save(figure, path)

        monkeypatch.setattr(home, "save", keep)
    return figures


def texts(figure):
    return [t.get_text() for axes in figure.axes for t in (*axes.texts, axes.title, axes._left_title)]


def test_curves_show_what_the_lines_hold(tmp_path, drawn):
    lines = [*LINES, {"step": 80, "validation": {"accuracy": 0.5, "matching_accuracy": None}}]
    path = plot_curves(lines, tmp_path / "plots" / "curves.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    shown = texts(drawn[0])
    assert [title for title in shown if title in ("Alignment loss", "Matching accuracy")] == []
    assert {"Language-model loss", "Exact answers, validation", "Gradient norm", "Learning rate"} <= set(shown)
    assert shown.count(" b") == 3  # the stage's name, in the first row
    boundary = drawn[0].axes[0].lines[-1].get_xdata()
    assert list(boundary) == [40, 40]


def test_short_runs_have_whole_steps_and_whole_first_points(tmp_path, drawn):
    plot_curves([{"step": i, "loss_lm": 5 - i} for i in range(3)], tmp_path / "curves.png")
    axes = drawn[0].axes[0]
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.xaxis.get_majorticklocs() if low <= tick <= high]
    assert ticks == [0, 1, 2]
    assert not axes.lines[0].get_clip_on()


@pytest.mark.parametrize(
    "lines",
    [[], [{"step": 1}], [{"step": 1, "loss_lm": float("nan")}], [{"step": 1, "grad_norm": 0.0}], LINES * 20],
)
def test_curves_survive_missing_and_odd_figures(tmp_path, lines):
    assert plot_curves(lines, tmp_path / "curves.png").stat().st_size > 1000


def test_the_same_figures_give_the_same_bytes(tmp_path):
    first, second = (plot_curves(LINES, tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second


def test_heat_map_counts_interchangeable_samples_as_right(tmp_path, drawn):
    before, after = np.eye(4)[[1, 2, 3, 0]], np.eye(4)[[2, 1, 0, 3]]
    matching_heatmap(before, after, [0, 1, 0, 2], tmp_path / "m.png", labels=list("abcd"))
    shown = texts(drawn[0])
    assert "before training: 0 % right" in shown
    assert "after training: 100 % right" in shown
    left, right = drawn[0].axes
    assert [len(axes.patches) for axes in (left, right)] == [3, 3]  # one box a group
    assert [len(axes.lines[0].get_xdata()) for axes in (left, right)] == [4, 0]  # crosses on wrong pairs
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "c", "b", "d"]


def test_heat_map_takes_tensors_soft_matchings_and_many_nodes(tmp_path):
    torch = pytest.importorskip("torch")
    soft = torch.softmax(torch.randn(40, 40), dim=1)
    matching_heatmap(soft, soft, torch.arange(40), tmp_path / "m.png", labels=["x"] * 40)
    with Image.open(tmp_path / "m.png") as image:
        assert image.width > 1000


def test_examples_mark_right_and_wrong_in_words_and_signs(tmp_path, drawn):
    records = [Record(str(i), "x", (("Which plane? " * 20, "axial"),), "", "") for i in range(6)]
    samples = [
        Sample(r, text) for r, text in zip(records, ["Axial.", "coronal", "", "x " * 99, "axial", "axial"], strict=True)
    ]
    images = [Image.new("RGB", (20 + i, 30)) for i in range(6)]
    example_images(samples, images, tmp_path / "e.png")
    answers = [text for text in texts(drawn[0]) if "model:" in text]
    assert [text[0] for text in answers] == list("✓✗✗✗✓✓")
    assert answers[2] == "✗ model: (nothing)"
    assert all(len(text) < 40 for text in texts(drawn[0]))


@pytest.mark.parametrize("said", ["\x05\x00", "$\\wrong$ and $x^$", "a\nb\tc"])
def test_examples_show_whatever_a_model_says(tmp_path, drawn, said):
    sample = Sample(Record("1", "x", (("Which $\\plane$?", "axial"),), "", ""), said)
    example_images([sample], [Image.new("RGB", (9, 9))], tmp_path / "e.png")
    assert all(text.isprintable() for text in texts(drawn[0]))


def test_no_examples_are_an_empty_sheet(tmp_path):
    assert example_images([], [], tmp_path / "e.png").exists()


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError) as error:
        plot_curves(LINES, tmp_path / "c.png")
    assert error.value.hint == pip_line("viz")
    assert error.value.exit_code == 4


def test_importing_draws_nothing_and_drawing_leaves_pyplot_alone(tmp_path):
    code = (
        "import sys, pathlib, medmllm.plots as p; assert 'matplotlib' not in sys.modules;"
        f"p.plot_curves([{{'step': 1, 'loss_lm': 1.0}}], pathlib.Path({str(tmp_path)!r}) / 'c.png');"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_answer_of_two_lines_is_shown_whole(tmp_path, drawn):
    record = Record("1", "x", (("Where?", "left upper lobe of the lung"),), "", "")
    sample = Sample(record, "the right lower lobe, in the middle")
    example_images([sample], [Image.new("RGB", (9, 9))], tmp_path / "e.png")
    assert " ".join(texts(drawn[0])).split("truth: ")[1].replace("  ", " ").strip() == (
        "left upper lobe of the lung ✗ model: the right lower lobe, in the middle"
    )


def test_a_matching_that_cannot_be_wrong_is_not_drawn():
    alike = [{"step": n, "validation": {"matching_accuracy": 1.0, "matching_chance": 1.0}} for n in range(3)]
    other = [{"step": n, "validation": {"matching_accuracy": 1.0, "matching_chance": 0.5}} for n in range(3)]
    assert not list(charts.curves({"run": [alike]}))
    assert [picture.title for picture in charts.curves({"run": [other]})] == ["Matching accuracy, validation"]

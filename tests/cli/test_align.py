"""`exgra align`: known pairs lead to the others, the folder has what was found, and what cannot be trusted is said."""

import csv
import json

import numpy as np
import pytest
import torch

import graphalign as ga
from exgra.matching.aligned import aligned_figure

KNOWN = 12


@pytest.fixture
def archives(tmp_path):
    """Sixty rows seen by two encoders of different widths, and the same shuffled; the place of each row."""
    random = np.random.default_rng(0)
    hidden = random.normal(size=(60, 8))
    order = random.permutation(60)
    places = np.argsort(order)
    np.save(tmp_path / "old.npy", hidden.astype(np.float32))
    np.save(tmp_path / "new.npy", (hidden @ random.normal(size=(8, 12)))[order].astype(np.float32))
    lines = [f"{row},{places[row]}" for row in range(60)]
    (tmp_path / "known.csv").write_text("old,new\n" + "\n".join(lines[:KNOWN]) + "\n")
    (tmp_path / "truth.csv").write_text("\n".join(lines) + "\n")
    return places


def test_the_pairs_are_found_and_written(exgra, archives, tmp_path):
    options = ("--known", "known.csv", "--truth", "truth.csv", "--out", "found", "--strict")
    done = exgra("align", "old.npy", "new.npy", *options, "--json")
    assert done.code == 0
    assert done.json["trusted"]
    assert (done.json["known"], done.json["pairs"], done.json["of"]) == (KNOWN, 60, 60 - KNOWN)
    assert done.json["accuracy"] == 1
    assert len(done.json["curve"]) == 10
    folder = tmp_path / "found"
    assert {file.name for file in folder.iterdir()} == {
        *("pairs.csv", "mapped.npy", "map.npz", "aligned.png", "summary.json")
    }
    with (folder / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["row"]): int(row["column"]) for row in rows} == dict(enumerate(archives))
    assert [row["known"] for row in rows] == ["true"] * KNOWN + ["false"] * (60 - KNOWN)
    mapped = np.load(folder / "mapped.npy")
    assert mapped.shape == (60, 12)
    old, new, saved = np.load("old.npy"), np.load("new.npy"), np.load(folder / "map.npz")
    assert np.allclose(unit(old - saved["mean1"]) @ saved["weight"], mapped, atol=1e-5)
    cosines = unit(mapped) @ unit(new - saved["mean2"]).T
    made = [float(cosines[int(row["row"]), int(row["column"])]) for row in rows]
    assert made == pytest.approx([float(row["confidence"]) for row in rows], abs=1e-4)
    assert json.loads((folder / "summary.json").read_text())["held_out"] == done.json["held_out"]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("head", ["column,row", "COLUMN;ROW", "new,old", "column_id\trow_id"])
def test_columns_are_read_by_their_names(exgra, archives, tmp_path, head):
    separator = next(mark for mark in ",;\t" if mark in head)
    lines = [head, *(separator.join(map(str, (archives[row], row))) for row in range(KNOWN))]
    (tmp_path / "known.csv").write_text("\n".join(lines) + "\n")
    done = exgra("align", "old.npy", "new.npy", "--known", "known.csv", "--truth", "truth.csv", "--json")
    assert (done.code, done.json["held_out"], done.json["accuracy"]) == (0, 1, 1)


def test_rows_whose_truth_is_not_known_are_neither_right_nor_wrong(exgra, archives, tmp_path):
    (tmp_path / "some.csv").write_text("".join((tmp_path / "truth.csv").read_text().splitlines(keepends=True)[:30]))
    options = ("--known", "known.csv", "--truth", "some.csv", "--out", "found", "--no-picture", "--json")
    done = exgra("align", "old.npy", "new.npy", *options)
    assert (done.json["right"], done.json["of"]) == (30 - KNOWN, 30 - KNOWN)
    with (tmp_path / "found" / "pairs.csv").open(newline="") as file:
        assert [row["right"] for row in csv.DictReader(file)] == ["true"] * 30 + [""] * 30


def test_where_all_pairs_are_known_there_is_no_figure_of_others(exgra, archives, tmp_path):
    done = exgra("align", "old.npy", "new.npy", "--known", "truth.csv", "--out", "found", "--json")
    assert (done.code, done.json["reproduced"], done.json["trusted"]) == (0, None, True)
    shown = exgra("align", "old.npy", "new.npy", "--known", "truth.csv")
    assert (shown.code, shown.err) == (0, "")
    assert "yes" in shown.out


def test_a_table_that_has_nothing_in_common_is_not_trusted(exgra, archives, tmp_path):
    np.save(tmp_path / "new.npy", np.random.default_rng(1).normal(size=(60, 12)))
    done = exgra("align", "old.npy", "new.npy", "--known", "known.csv")
    assert done.code == 0
    assert "NO" in done.out
    assert "do not use these pairs: " in done.err
    assert "of the hidden known pairs were found again, and 50.0% are needed" in " ".join(done.err.split())
    strict = exgra("align", "old.npy", "new.npy", "--known", "known.csv", "--strict", "--out", "found", "--json")
    assert strict.code == 1
    assert strict.json["trusted"] is False
    assert (tmp_path / "found" / "pairs.csv").is_file()


def test_the_picture_has_the_whole_verdict():
    x = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    for y, words in ((x.flip(0) ** 2, "NOT to be trusted"), (-x, "Trusted")):
        found = ga.align(x, y, [(i, i) for i in range(12)])
        drawn = aligned_figure(found)
        drawn.draw_without_rendering()
        title = drawn._suptitle.get_window_extent()
        assert drawn._suptitle.get_text().count(words) == max(1, len(found.doubts))
        assert drawn.bbox.x0 <= title.x0 < title.x1 <= drawn.bbox.x1
        assert title.y1 <= drawn.bbox.y1
        assert all(axes.title.get_window_extent().x1 <= drawn.bbox.x1 for axes in drawn.axes)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ("wide.csv", "needed two columns; got 3"),
        ("missing.csv", ".npy, .csv or .tsv file that exists"),
        ("empty.csv", "one at least"),
    ],
)
def test_known_pairs_are_needed(exgra, archives, tmp_path, known, message):
    (tmp_path / "empty.csv").write_text("old,new\n")
    (tmp_path / "wide.csv").write_text("0,1,2\n")
    done = exgra("align", "old.npy", "new.npy", "--known", known)
    assert done.code in (2, 3)
    assert message in done.err

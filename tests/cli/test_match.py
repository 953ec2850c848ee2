"""`exgra match`: known pairs are found, files of four formats agree, and bad input is refused in words."""

import csv
import hashlib
import itertools
import json
import os
import pickle
import re
import signal
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np
import pytest
import torch

from graphalign.extras import pip_line
from graphalign.files import room


@pytest.fixture
def clouds(tmp_path):
    """Twelve samples, and the same ones shuffled with a little noise: row i belongs to column partner[i]."""
    random = np.random.default_rng(0)
    x = random.normal(size=(12, 6)).astype(np.float32)
    order = random.permutation(12)
    y = (x + 0.05 * random.normal(size=x.shape))[order].astype(np.float32)
    np.save(tmp_path / "images.npy", x)
    np.save(tmp_path / "texts.npy", y)
    partner = np.argsort(order)
    np.save(tmp_path / "truth.npy", partner)
    return x, y, partner


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("solver", ["lap", "greedy", "faq", "sinkhorn(tau=0.05)"])
def test_planted_pairs_are_found(exgra, clouds, tmp_path, solver):
    options = ("--truth", "truth.npy", "--solver", solver, "--out", "found", "--no-picture", "--json")
    told = exgra("match", "images.npy", "texts.npy", *options).json
    assert told["pairs"][0]["accuracy"] == 1.0
    rows = table(tmp_path / "found" / "matching.csv")
    assert {int(row["row"]): int(row["column"]) for row in rows} == dict(enumerate(clouds[2]))
    assert all(row["right"] == "true" and row["mutual"] == "true" and float(row["margin"]) > 0 for row in rows)


def test_the_folder_says_what_was_matched(exgra, clouds, tmp_path):
    assert exgra("match", "images.npy", "texts.npy", "--out", "found", "--scores").code == 0
    folder = tmp_path / "found"
    assert {entry.name for entry in folder.iterdir()} == {"matching.csv", "scores.npy", "summary.json", "matching.png"}
    x, y, _ = clouds
    expected = (x / np.linalg.norm(x, axis=1)[:, None]) @ (y / np.linalg.norm(y, axis=1)[:, None]).T
    scores = np.load(folder / "scores.npy")
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["files"][0]["sha256"] == hashlib.sha256((tmp_path / "images.npy").read_bytes()).hexdigest()
    best = max(sum(scores[i, j] for i, j in enumerate(p)) for p in [tuple(clouds[2])])
    assert summary["pairs"][0]["objective"] == pytest.approx(best, rel=1e-5)
    assert summary["versions"]["torch"] == version("torch")
    assert (folder / "matching.png").read_bytes().startswith(b"\x89PNG")


def test_margin_and_mutual_are_as_defined():
    from graphalign.files.sureness import sureness
    from graphalign.solvers.pair_scores import TableScores

    scores = np.random.default_rng(3).normal(size=(4, 5))
    rows, columns = np.array([0, 1, 2, 3]), np.array([4, 1, 0, 2])
    score, mutual, margin, known = sureness(TableScores(torch.from_numpy(scores)), rows, columns)
    assert known
    assert score.tolist() == scores[rows, columns].tolist()
    for number, (i, j) in enumerate(zip(rows, columns, strict=True)):
        others = [*np.delete(scores[i], j), *np.delete(scores[:, j], i)]
        assert margin[number] == pytest.approx(scores[i, j] - max(others))
        assert mutual[number] == (scores[i, j] >= max(others))


def test_a_soft_plan_is_rounded_to_its_heaviest_pairs():
    from graphalign import NodeEdge, Solution
    from graphalign.files.pairing import rounded

    plan = torch.rand(5, 5, generator=torch.Generator().manual_seed(1)).double()
    rows, columns, mass = rounded(Solution(NodeEdge(plan)), None)
    assert mass.tolist() == plan[rows, columns].tolist()
    best = max(itertools.permutations(range(5)), key=lambda p: sum(float(plan[i, j]) for i, j in enumerate(p)))
    assert columns[np.argsort(rows)].tolist() == list(best)


def test_formats_agree(exgra, clouds, tmp_path):
    x, y, _ = clouds
    torch.save(torch.from_numpy(x), tmp_path / "x.pt")
    names = [f"n{i}" for i in range(12)]
    lines = [",".join([name, *map(repr, row.tolist())]) for name, row in zip(names, y, strict=True)]
    (tmp_path / "y.csv").write_text("\n".join([",".join(["id", *"abcdef"]), *lines]))
    (tmp_path / "bare.csv").write_text("\n".join(lines))
    np.savetxt(tmp_path / "numbers.csv", y, delimiter=",")
    wanted = exgra("match", "images.npy", "texts.npy", "--json").json["pairs"][0]
    for first, second in (("x.pt", "y.csv"), ("images.npy", "bare.csv"), ("x.pt", "numbers.csv")):
        got = exgra("match", first, second, "--json").json["pairs"][0]
        assert got["objective"] == pytest.approx(wanted["objective"], rel=1e-6)
    assert exgra("match", "x.pt", "y.csv", "--out", "o", "--no-picture").code == 0
    assert {row["column_id"] for row in table(tmp_path / "o" / "matching.csv")} == set(names)


def test_parquet_has_a_list_or_a_column_for_each_number(exgra, clouds, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    x, y, _ = clouds
    names = [f"n{i}" for i in range(12)]
    parquet.write_table(arrow.table({"name": names, "embedding": y.tolist()}), tmp_path / "list.parquet")
    parquet.write_table(arrow.table({f"x{i}": column for i, column in enumerate(x.T)}), tmp_path / "wide.parquet")
    wanted = exgra("match", "images.npy", "texts.npy", "--json").json["pairs"][0]["objective"]
    got = exgra("match", "wide.parquet", "list.parquet", "--json", "--out", "o", "--no-picture").json
    assert got["pairs"][0]["objective"] == pytest.approx(wanted, rel=1e-6)
    assert {row["column_id"] for row in table(tmp_path / "o" / "matching.csv")} == set(names)


def test_truth_by_ids_counts_what_was_found(exgra, clouds, tmp_path):
    partner = clouds[2]
    lines = [f"{row},{column}" for row, column in enumerate(partner)][:8]
    lines[0], lines[1] = f"0,{partner[1]}", f"1,{partner[0]}"  # two claims that are wrong
    (tmp_path / "truth.csv").write_text("\n".join(["image,text", *lines]))
    pair = exgra("match", "images.npy", "texts.npy", "--truth", "truth.csv", "--json").json["pairs"][0]
    assert (pair["right"], pair["of"], pair["accuracy"]) == (6, 8, 0.75)


def test_sizes_may_differ_and_samples_may_stay_alone(exgra, clouds, tmp_path):
    np.save(tmp_path / "few.npy", clouds[0][:5])
    assert exgra("match", "few.npy", "texts.npy", "--json").json["pairs"][0]["matched"] == 5
    np.save(tmp_path / "other.npy", -clouds[1])
    pair = exgra("match", "few.npy", "other.npy", "--unmatched", "0.4", "--json").json["pairs"][0]
    assert pair["matched"] < 5
    assert pair["matched"] + pair["unmatched_columns"] == 12


def test_more_files_are_matched_two_by_two(exgra, clouds, tmp_path):
    np.save(tmp_path / "sound.npy", clouds[0])
    result = exgra("match", "images.npy", "texts.npy", "sound.npy", "--out", "o", "--json", "--no-picture")
    assert [(p["rows"], p["columns"]) for p in result.json["pairs"]] == [
        ("images", "texts"),
        ("images", "sound"),
        ("texts", "sound"),
    ]
    assert (tmp_path / "o" / "images-sound" / "matching.csv").exists()
    assert (tmp_path / "o" / "summary.json").exists()


def test_nothing_is_overwritten(exgra, clouds, tmp_path):
    (tmp_path / "o").mkdir()
    assert exgra("match", "images.npy", "texts.npy", "--out", "o", "--no-picture").code == 0
    result = exgra("match", "images.npy", "texts.npy", "--out", "o", "--no-picture")
    assert result.code == 2
    assert "nothing is overwritten" in result.err


class Trap:
    def __reduce__(self):
        return (print, ("this must never run",))


def bad_files(folder):
    """Name of the file, exit code, and a word of the message."""
    good = np.eye(3, dtype=np.float32)
    np.save(folder / "good.npy", good)
    np.save(folder / "nan.npy", np.where(good > 0, np.nan, good))
    np.save(folder / "flat.npy", good[0])
    np.save(folder / "none.npy", good[:0])
    np.save(folder / "words.npy", np.array([["a", "b", "c"]]))
    np.save(folder / "objects.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:90])
    (folder / "pickle.npy").write_bytes(pickle.dumps(Trap()))
    torch.save(Trap(), folder / "objects.pt")
    torch.save({"a": torch.eye(3), "b": torch.eye(3)}, folder / "two.pt")
    (folder / "rubbish.pt").write_bytes(b"no tensor")
    (folder / "gap.csv").write_text("1,2,3\n4,5\n")
    (folder / "word.csv").write_text("1,2,3\n4,five,6\n")
    (folder / "empty.csv").write_text("")
    (folder / "x.txt").write_text("1 2 3")


BAD = {
    "nan.npy": (3, "NaN"),
    "flat.npy": (3, "shape (3,)"),
    "none.npy": (3, "shape (0, 3)"),
    "words.npy": (3, "numbers"),
    "objects.npy": (3, "never loaded"),
    "pickle.npy": (3, "never loaded"),
    "cut.npy": (3, "cannot be read"),
    "objects.pt": (3, "never loaded"),
    "two.pt": (3, "one tensor"),
    "rubbish.pt": (3, "rubbish.pt"),
    "gap.csv": (3, "line 2"),
    "word.csv": (3, "line 2"),
    "empty.csv": (3, "shape"),
    "x.txt": (2, "no known format"),
    "missing.npy": (2, "does not exist"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_words(exgra, tmp_path, name):
    bad_files(tmp_path)
    result = exgra("match", "good.npy", name, "--json")
    code, word = BAD[name]
    assert result.code == code
    assert word in result.err
    assert name in result.err
    assert "this must never run" not in result.out + result.err
    assert result.json["hint"]


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--solver", "hungarain"], 2, "hungarian"),
        (["--solver", "brute_force"], 2, "12"),
        (["--graph", "knn(k=0)"], 2, "k must be"),
        (["--affinity", "lap"], 2, "affinity"),
        (["--unmatched", "nan"], 2, "unmatched"),
        (["--truth", "missing.csv"], 2, "--truth"),
        (["--truth", "images.npy"], 3, "12 whole numbers"),
    ],
)
def test_wrong_options_are_told(exgra, clouds, options, code, word):
    result = exgra("match", "images.npy", "texts.npy", *options)
    assert result.code == code
    assert word in result.err
    assert "fault of ExGra" not in result.err


def test_more_neighbours_than_rows_are_warned_about(exgra, clouds):
    result = exgra("match", "images.npy", "texts.npy", "--solver", "faq", "--graph", "knn(k=200)")
    assert result.code == 0
    assert "images.npy: 12 rows, so KNN(k=200, metric='euclidean') joins each with all others" in result.err
    assert "joins" not in exgra("match", "images.npy", "texts.npy", "--solver", "faq").err
    assert "joins" not in exgra("match", "images.npy", "texts.npy", "--graph", "knn(k=200)").err


def test_widths_that_differ_are_explained(exgra, clouds, tmp_path):
    np.save(tmp_path / "wide.npy", np.ones((12, 9), np.float32))
    result = exgra("match", "images.npy", "wide.npy")
    assert result.code == 3
    assert "6 numbers in a row and wide has 9" in result.err
    assert "into one space" in result.err


def test_what_does_not_fit_into_memory_is_refused_before_it_is_tried(exgra, clouds, monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 2000.0)
    result = exgra("match", "images.npy", "texts.npy")
    assert result.code == 3
    assert "GB of memory" in result.err


def test_one_file_is_not_enough(exgra, clouds):
    assert exgra("match", "images.npy").code == 2


def test_without_matplotlib_the_extra_is_named_before_anything_is_written(exgra, clouds, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    result = exgra("match", "images.npy", "texts.npy", "--out", "o")
    assert result.code == 4
    assert pip_line("viz") in result.err
    assert "--no-picture" in result.err
    assert not (tmp_path / "o").exists()
    assert exgra("match", "images.npy", "texts.npy", "--out", "o", "--no-picture").code == 0


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 150), (70, 5), (70, 70)])
def test_a_picture_of_any_size_is_drawn(exgra, tmp_path, rows, columns):
    random = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", random.normal(size=(rows, 3)))
    np.save(tmp_path / "b.npy", random.normal(size=(columns, 3)))
    assert exgra("match", "a.npy", "b.npy", "--out", "o").code == 0
    assert (tmp_path / "o" / "matching.png").stat().st_size > 5000


def test_a_sparse_matching_has_a_bound_and_a_gap(exgra, clouds, tmp_path):
    dense = exgra("match", "images.npy", "texts.npy", "--json").json["pairs"][0]
    pair = exgra("match", "images.npy", "texts.npy", "--solver", "sparse", "--gap", "1e-4", "--json").json["pairs"][0]
    assert pair["objective"] == pytest.approx(dense["objective"], rel=1e-6)
    assert pair["objective"] <= pair["bound"]
    assert 0 <= pair["gap"] <= 1e-4
    assert pair["converged"] is True
    assert pair["interrupted"] is False
    assert dense["gap"] <= 1e-10


def test_a_gap_is_for_the_sparse_solver(exgra, clouds):
    result = exgra("match", "images.npy", "texts.npy", "--solver", "greedy", "--gap", "0.1")
    assert result.code == 2
    assert "--solver sparse --gap" in result.err
    assert exgra("match", "images.npy", "texts.npy", "--solver", "sparse", "--gap", "-1").code == 2


def test_what_fits_decides_between_dense_and_sparse(exgra, clouds, monkeypatch):
    from graphalign.files import choice

    small = exgra("match", "images.npy", "texts.npy", "--json")
    assert small.json["solver"].startswith("Lap(")
    assert re.match(
        r"the table of 12 x 12 scores takes 0\.56 kB|the table of 12 x 12 scores takes 1\.1 kB", small.json["why"]
    )
    monkeypatch.setattr(choice, "SMALL", 100)
    large = exgra("match", "images.npy", "texts.npy", "--json")
    assert large.json["solver"].startswith("Sparse(")
    assert "solver Sparse" in large.err
    assert large.json["pairs"][0]["objective"] == pytest.approx(small.json["pairs"][0]["objective"], rel=1e-6)
    loose = exgra("match", "images.npy", "texts.npy", "--gap", "0.01", "--json")
    assert loose.json["solver"].startswith("Sparse(k=16, gap=0.01")


def test_a_table_that_does_not_fit_names_the_solver_that_does(exgra, clouds, monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 2000.0)
    result = exgra("match", "images.npy", "texts.npy", "--solver", "lap")
    assert result.code == 3
    assert "80%" in result.err
    assert "--solver sparse" in result.err


def test_a_pair_whose_truth_is_not_known_is_neither_right_nor_wrong(exgra, clouds, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("exgra.matching.folder.PAIRS", 5)  # in the first part no truth is known
    true = np.array(clouds[2])
    given = np.where(np.arange(len(true)) < 6, -1, true)
    given[6], given[7] = true[7], true[6]
    np.save("some.npy", given)
    options = ("match", "images.npy", "texts.npy", "--truth", "some.npy")
    assert exgra(*options, "--out", "c").code == 0
    assert exgra(*options, "--out", "p", "--table", "parquet", "--no-picture").code == 0
    wanted = [None] * 6 + [False] * 2 + [True] * (len(true) - 8)
    words = {"": None, "false": False, "true": True}
    assert [words[row["right"]] for row in table(tmp_path / "c" / "matching.csv")] == wanted
    read = parquet.read_table(tmp_path / "p" / "matching.parquet").to_pylist()
    assert [row["right"] for row in read] == wanted


def test_outputs_may_be_parquet_and_agree_with_csv(exgra, clouds, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("exgra.matching.folder.PAIRS", 5)  # several parts
    options = ("match", "images.npy", "texts.npy", "--truth", "truth.npy", "--no-picture")
    assert exgra(*options, "--out", "p", "--table", "parquet").code == 0
    assert exgra(*options, "--out", "c").code == 0
    rows, lines = (
        parquet.read_table(tmp_path / "p" / "matching.parquet").to_pylist(),
        table(tmp_path / "c" / "matching.csv"),
    )
    assert [int(line["column"]) for line in lines] == [row["column"] for row in rows]
    assert [float(line["score"]) for line in lines] == pytest.approx([row["score"] for row in rows], rel=1e-5)
    assert all(row["right"] is True and row["mutual"] is True for row in rows)
    assert exgra(*options, "--table", "xlsx").code == 2


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_ctrl_c_keeps_the_best_matching_with_its_gap(exgra, tmp_path, monkeypatch, blocks):
    """At several moments: in the first scan, where only the order of the rows is known, and later."""
    from graphalign.files import pairing

    random = np.random.default_rng(0)
    x = random.normal(size=(700, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", x)
    np.save(tmp_path / "b.npy", x[::-1] + 0.5 * random.normal(size=x.shape).astype(np.float32))
    calls, stopped = [], pairing.best_so_far

    def stop(state):
        calls.append(state)
        if len(calls) == blocks:
            raise KeyboardInterrupt

    monkeypatch.setattr(pairing, "best_so_far", lambda solver, problem, report: stopped(solver, problem, stop))
    options = ("--solver", "sparse(k=2)", "--gap", "0", "--out", "o", "--json", "--no-picture")
    result = exgra("match", "a.npy", "b.npy", *options)
    assert result.code == 130
    pair = json.loads((tmp_path / "o" / "summary.json").read_text())["pairs"][0]
    assert pair["interrupted"] is True
    lines = table(tmp_path / "o" / "matching.csv")
    assert len({line["row"] for line in lines}) == len({line["column"] for line in lines}) == len(lines) == 700
    assert sum(float(line["score"]) for line in lines) == pytest.approx(pair["objective"], rel=1e-4)
    best = exgra("match", "a.npy", "b.npy", "--solver", "sparse", "--gap", "1e-9", "--json").json["pairs"][0]
    assert pair["bound"] >= best["objective"]
    assert pair["objective"] >= (1 - pair["gap"]) * pair["bound"] - 1e-9


@pytest.fixture
def pressing(monkeypatch):
    """Ctrl-C at the given call of the progress of `sparse`, or, with 0, at the look at how sure the pairs are."""
    from graphalign.files import pairing, sureness

    def press_at(number):
        calls = itertools.count(1)

        @contextmanager
        def progress():
            yield lambda state: next(calls) == number and os.kill(os.getpid(), signal.SIGINT)

        def look(*arguments):
            os.kill(os.getpid(), signal.SIGINT)
            return sureness.sureness(*arguments)

        monkeypatch.setattr("exgra.commands.match.matching_progress", progress)
        if not number:
            monkeypatch.setattr(pairing, "sureness", look)

    return press_at


@pytest.mark.parametrize("number", [0, 1, 2, 4, 6, 8])
def test_ctrl_c_at_any_moment_keeps_every_matching_made_until_then(exgra, tmp_path, pressing, number):
    """Of three files; the moments are in the first matching and in the second."""
    random = np.random.default_rng(0)
    x = random.normal(size=(700, 3)).astype(np.float32)
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", x + 0.5 * random.normal(size=x.shape).astype(np.float32))
    pressing(number)
    before = signal.getsignal(signal.SIGINT)
    result = exgra(
        "match", "a.npy", "b.npy", "c.npy", "--solver", "sparse", "--out", "o", "--no-picture", "--top-k", "2"
    )
    assert signal.getsignal(signal.SIGINT) is before
    assert result.code == 130
    pairs = json.loads((tmp_path / "o" / "summary.json").read_text())["pairs"]
    assert 1 <= len(pairs) < 3
    for place, pair in enumerate(pairs):
        folder = tmp_path / "o" if len(pairs) == 1 else tmp_path / "o" / f"{pair['rows']}-{pair['columns']}"
        lines = table(folder / "matching.csv")
        assert len({line["row"] for line in lines}) == len({line["column"] for line in lines}) == len(lines) == 700
        assert sum(float(line["score"]) for line in lines) == pytest.approx(pair["objective"], rel=1e-4)
        assert pair["objective"] <= pair["bound"]
        assert pair["gap"] == pytest.approx(1 - pair["objective"] / pair["bound"], abs=1e-12)
        last = place == len(pairs) - 1
        assert pair["interrupted"] is (last and number > 0)
        assert (pair["mutual"] is None) is last
        assert (lines[0]["margin"] == "") is last
        assert (folder / "candidates.csv").exists() is (not pair["interrupted"])


def test_a_second_ctrl_c_ends_at_once(exgra, tmp_path, monkeypatch):
    from exgra.interrupt import stopping

    with stopping("later") as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with stopping("later") as stop:
        stop.at_once()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_summary_names_a_graph_only_where_one_is_made(exgra, clouds):
    for solver, graph in (("sparse", None), ("lap", None), ("faq", "KNN(k=5")):
        found = exgra("match", "images.npy", "texts.npy", "--solver", solver, "--json").json
        assert found["graph"] is None if graph is None else found["graph"].startswith(graph)
        assert {"objective", "bound", "gap"} <= found["pairs"][0].keys()


def test_a_picture_of_very_many_pairs_shows_some(exgra, clouds, tmp_path, monkeypatch):
    monkeypatch.setattr("exgra.matching.picture.SHOWN_UP_TO", 6)
    assert exgra("match", "images.npy", "texts.npy", "--truth", "truth.npy", "--out", "o").code == 0
    assert (tmp_path / "o" / "matching.png").read_bytes().startswith(b"\x89PNG")


def test_fixed_and_forbidden_pairs_and_candidates(exgra, clouds, tmp_path):
    _, _, partner = clouds
    wrong = int(partner[1])
    (tmp_path / "seeds.csv").write_text(f"image,text\n0,{wrong}\n")
    np.save(tmp_path / "forbid.npy", np.array([[2, partner[2]], [3, partner[3]]]))
    options = ("--seeds", "seeds.csv", "--forbid", "forbid.npy", "--top-k", "3", "--out", "found", "--no-picture")
    assert exgra("match", "images.npy", "texts.npy", *options).code == 0
    rows = {int(row["row"]): int(row["column"]) for row in table(tmp_path / "found" / "matching.csv")}
    assert rows[0] == wrong
    assert rows[2] != partner[2]
    assert rows[3] != partner[3]
    assert sorted(rows.values()) == list(range(12))
    found = table(tmp_path / "found" / "candidates.csv")
    assert [int(line["rank"]) for line in found] == [1, 2, 3] * 12
    assert int(found[3 * 5]["column"]) == partner[5]
    assert (2, int(partner[2])) not in {(int(line["row"]), int(line["column"])) for line in found}
    matched = {int(line["row"]): int(line["column"]) for line in found if line["matched"] == "true"}
    assert matched.items() <= rows.items()
    kept = json.loads((tmp_path / "found" / "summary.json").read_text())
    assert (kept["seeds"]["pairs"], kept["forbidden"]["pairs"]) == (1, 2)
    assert kept["seeds"]["sha256"] == hashlib.sha256((tmp_path / "seeds.csv").read_bytes()).hexdigest()
    marked = [row["row"] for row in table(tmp_path / "found" / "matching.csv") if row["seed"] == "true"]
    assert marked == ["0"]
    again = exgra("match", "images.npy", "texts.npy", "--seeds", "seeds.csv", "--forbid", "forbid.npy")
    assert "1 pair fixed, 2 pairs forbidden" in again.err


def test_a_pair_that_is_fixed_and_forbidden_is_named(exgra, clouds, tmp_path):
    (tmp_path / "both.csv").write_text("3,4\n")
    result = exgra("match", "images.npy", "texts.npy", "--seeds", "both.csv", "--forbid", "both.csv")
    assert result.code == 2
    assert "the pair 3, 4 (rows 3 and 4) is fixed and forbidden" in result.err


def test_a_missing_file_names_the_near_one(exgra, clouds):
    result = exgra("match", "image.npy", "texts.npy")
    assert "did you mean images.npy?" in result.err


def test_rows_without_ids_are_named_by_their_numbers(exgra, clouds, tmp_path):
    (tmp_path / "known.csv").write_text("1,1\n12,12\n")
    result = exgra("align", "images.npy", "texts.npy", "--known", "known.csv")
    assert result.code == 3
    assert "images.npy has no ids: its rows are 0 to 11" in " ".join(result.err.split())


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("0,99\n", ("--seeds", "pairs.csv"), "is not a pair of ids"),
        ("0,1\n0,2\n", ("--seeds", "pairs.csv"), "fixes the row 0 twice"),
        ("0,1\n", ("--seeds", "missing.csv"), "needed a .npy or .csv file that exists"),
        ("\n".join(f"0,{i}" for i in range(12)), ("--forbid", "pairs.csv"), "row 0 finds no partner"),
        ("0,1\n", ("--top-k", "2"), "written to a folder"),
        ("0,1\n", ("--seeds", "pairs.csv", "texts.npy"), "belong to two files"),
    ],
)
def test_constraints_that_cannot_be_are_refused(exgra, clouds, tmp_path, text, options, message):
    (tmp_path / "pairs.csv").write_text(text)
    result = exgra("match", "images.npy", "texts.npy", *options)
    assert result.code != 0
    assert message in " ".join(result.err.split())


def test_an_adjacency_matrix_is_asked_about(exgra, tmp_path):
    edges = np.zeros((4, 4))
    edges[0, 1] = edges[1, 0] = edges[2, 3] = edges[3, 2] = 1
    np.save(tmp_path / "g.npy", edges)
    result = exgra("match", "g.npy", "g.npy")
    assert result.code == 2
    assert "is g.npy an adjacency matrix?" in result.err
    assert "--features" in result.err
    assert exgra("match", "g.npy", "g.npy", "--features").code == 0

"""Tables of features as people save them: columns that name or count the rows are not features."""

import csv
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch

from graphalign.errors import ConfigError, DataError
from graphalign.files.embeddings import looks_like_adjacency, read_embeddings
from graphalign.files.named_pairs import read_named_pairs, read_numbered_pairs
from graphalign.files.truth import true_columns

X = np.random.default_rng(0).normal(size=(6, 3))
NAMES = [f"s{n}" for n in range(6)]


def table(path, columns, delimiter=","):
    """Writes columns by their names, with X behind them."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow([*columns, "a", "b", "c"])
        for n, row in enumerate(X.tolist()):
            writer.writerow([*(values[n] for values in columns.values()), *row])
    return path


INDEX = {
    "pandas": {"": range(6)},
    "index": {"index": range(6)},
    "unnamed": {"Unnamed: 0": range(6)},
    "parquet's": {"__index_level_0__": range(6)},
    "a record number": {"record_no": range(100, 106)},
    "gaps": {"MRN": [3, 7, 8, 20, 21, 40]},
    "ids and an index": {"": range(6), "id": NAMES},
    "words": {"film": NAMES},
}


@pytest.mark.parametrize("form", INDEX)
@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("csv", ";"), ("csv", "\t"), ("tsv", "\t")])
def test_what_names_or_counts_rows_is_no_feature(tmp_path, form, ending, delimiter):
    found = read_embeddings(table(tmp_path / f"a.{ending}", INDEX[form], delimiter), "a")
    np.testing.assert_allclose(found.x, X)
    named = next((values for values in INDEX[form].values() if values is NAMES), next(iter(INDEX[form].values())))
    assert list(found.ids) == [str(value) for value in named]
    assert bool(found.notes) == (form in ("a record number", "gaps"))


def test_an_index_without_a_head_line(tmp_path):
    lines = [",".join([str(n), *map(str, row)]) for n, row in enumerate(X.tolist())]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    np.testing.assert_allclose(read_embeddings(tmp_path / "a.csv", "a").x, X)


def test_whole_numbers_that_do_not_rise_are_features(tmp_path):
    ages = {"age": [50, 60, 50, 40, 70, 80]}
    assert read_embeddings(table(tmp_path / "a.csv", ages), "a").x.shape == (6, 4)


@pytest.mark.parametrize("form", INDEX)
def test_parquet(tmp_path, form):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {name: list(values) for name, values in INDEX[form].items()} | dict(zip("abc", X.T.tolist(), strict=True))
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    np.testing.assert_allclose(read_embeddings(tmp_path / "a.parquet", "a").x, X)


def test_archives_and_word_vectors(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, names=np.array(NAMES))
    (tmp_path / "b.vec").write_text(
        "6 3\n" + "\n".join(f"s{n} {' '.join(map(str, r))}" for n, r in enumerate(X.tolist()))
    )
    for file in ("a.npz", "b.vec"):
        found = read_embeddings(tmp_path / file, "a")
        np.testing.assert_allclose(found.x, X)
        assert list(found.ids) == NAMES
    np.savez(tmp_path / "two.npz", x=X, y=X)
    with pytest.raises(DataError, match="holds 2: x, y"):
        read_embeddings(tmp_path / "two.npz", "a")


def test_sparse_archives(tmp_path):
    from scipy import sparse

    sparse.save_npz(tmp_path / "a.npz", sparse.csr_array(np.diag([1.0, 2.0, 3.0])))
    np.testing.assert_array_equal(read_embeddings(tmp_path / "a.npz", "a").x, np.diag([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("dense", [True, False])
def test_annotated_data(tmp_path, dense):
    h5py = pytest.importorskip("h5py")
    from scipy import sparse

    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        if dense:
            file["X"] = X
        else:
            held, group = sparse.csr_array(X), file.create_group("X")
            group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", X.shape
            group["data"], group["indices"], group["indptr"] = held.data, held.indices, held.indptr
        file.create_group("obs").attrs["_index"] = "cell"
        file["obs/cell"] = [name.encode() for name in NAMES]
    found = read_embeddings(tmp_path / "a.h5ad", "a")
    np.testing.assert_allclose(found.x, X)
    assert list(found.ids) == NAMES


def test_ids_and_true_pairs_named_twice_are_refused(tmp_path):
    with pytest.raises(DataError, match="1 ids name several rows: s1"):
        read_embeddings(table(tmp_path / "a.csv", {"id": ["s0", "s1", "s1", "s3", "s4", "s5"]}), "a")
    first = read_embeddings(table(tmp_path / "b.csv", {"id": NAMES}), "b")
    for lines in ("s0,s0\ns1,s1\ns0,s0", "s0,s0\ns0,s1"):
        (tmp_path / "truth.csv").write_text(lines)
        with pytest.raises(DataError, match="s0 is named twice"):
            true_columns(str(tmp_path / "truth.csv"), first, first)
    (tmp_path / "truth.tsv").write_text("row\tcolumn\ns0\ts1\n")
    assert true_columns(str(tmp_path / "truth.tsv"), first, first).tolist() == [1, -1, -1, -1, -1, -1]


def test_edges_of_a_graph_are_recognised():
    edges = np.zeros((4, 4))
    edges[0, 1] = edges[1, 0] = edges[2, 3] = edges[3, 2] = 1
    assert looks_like_adjacency(edges)
    assert not looks_like_adjacency(np.eye(4))
    assert not looks_like_adjacency(X)


def test_an_unknown_format_names_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"\.h5ad"):
        read_embeddings(tmp_path / "a.xyz", "a")


def lying_npy(path, shape, content=bytes(64)):
    """A head that gives a shape, over a few bytes."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(content)


SHAPES = [(10**12, 4), (2**62, 2), (2**31, 2**31), (-1, 4), (5, 4), (10**30, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_shape_of_a_file_that_lies_is_refused(tmp_path, shape):
    lying_npy(tmp_path / "a.npy", shape)
    with pytest.raises(DataError) as caught:
        read_embeddings(tmp_path / "a.npy", "a")
    assert caught.value.hint
    with pytest.raises(DataError) as caught:
        true_columns(str(tmp_path / "a.npy"), *[read_embeddings(good(tmp_path), "b")] * 2)
    assert caught.value.hint


OTHER_FILES = {
    "the head of an archive": b"PK\3\4" + bytes(60),
    "text": b"1 2 3\n",
    "nothing": b"",
    "a head without an end": b"\x93NUMPY\1\0\x08\0(((((((\n",
}


@pytest.mark.parametrize("content", OTHER_FILES.values(), ids=OTHER_FILES)
def test_what_is_no_array_is_refused_whatever_it_is(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    for read in (lambda path: read_embeddings(path, "a"), lambda path: read_numbered_pairs(path, [(-1, 2)], "pairs")):
        with pytest.raises(DataError, match=r"cannot be read as a \.npy file") as caught:
            read(tmp_path / "a.npy")
        assert "allow_pickle" not in str(caught.value)


def test_an_archive_is_no_array(tmp_path):
    np.savez(tmp_path / "a.npz", X)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match="magic string"):
        read_embeddings(tmp_path / "a.npy", "a")


def test_a_sparse_archive_whose_parts_do_not_fit_is_refused(tmp_path):
    parts = {"format": b"csr", "shape": (3, 3), "data": np.ones(2), "indices": np.arange(2), "indptr": np.arange(9)}
    for name, changed in {"indptr": parts["indptr"], "format": b"dok", "shape": (-3, 3), "data": None}.items():
        sound = parts | {"indptr": np.array([0, 1, 2, 2])}
        np.savez(tmp_path / "a.npz", **{k: v for k, v in (sound | {name: changed}).items() if v is not None})
        with pytest.raises(DataError):
            read_embeddings(tmp_path / "a.npz", "a")


def good(folder):
    np.save(folder / "b.npy", X)
    return folder / "b.npy"


def test_an_archive_whose_array_lies_is_refused(tmp_path):
    lying_npy(tmp_path / "x.npy", (10**12, 4))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "x.npy", "x.npy")
    with pytest.raises(DataError):
        read_embeddings(tmp_path / "a.npz", "a")


LYING = {
    "repeated": lambda: torch.zeros(1).expand(10**7, 10**6),
    "sparse": lambda: torch.sparse_coo_tensor([[0], [0]], [1.0], (10**7, 10**6), check_invariants=False),
    "beyond": lambda: torch.sparse_coo_tensor([[5000], [0]], [1.0], (2, 2), check_invariants=False),
    "rows of nothing": lambda: torch.zeros(0, 4),
    "without content": lambda: torch.zeros(4, 4, device="meta"),
}


@pytest.mark.parametrize("kind", LYING)
def test_a_tensor_that_is_larger_than_its_file_is_refused(tmp_path, kind):
    torch.save(LYING[kind](), tmp_path / "a.pt")
    with pytest.raises(DataError) as caught:
        read_embeddings(tmp_path / "a.pt", "a")
    assert caught.value.hint


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_tensor_is_read_or_refused(tmp_path, seed):
    rng, path = np.random.default_rng(seed), tmp_path / "a.pt"
    torch.save(torch.from_numpy(X), path)
    content = bytearray(path.read_bytes())
    if seed % 3:
        for spot in rng.integers(len(content), size=8):
            content[spot] = rng.integers(256)
    else:
        del content[rng.integers(len(content)) :]
    path.write_bytes(content)
    with suppress(DataError):
        assert read_embeddings(path, "a").x.shape == X.shape


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("0,1\n2,3\n", [(0, 1), (2, 3)]),
        ("old;new\n0;1\n", [(0, 1)]),
        (",row,column\n0,4,1\n1,5,3\n", [(4, 1), (5, 3)]),  # as pandas writes its index
        ("row,column,row_id,column_id,confidence,known\n9,9,2,1,0.5,true\n", [(2, 1)]),
        ("weight,row,column\n0.5,2,1\n", [(2, 1)]),
        ("", []),
    ],
)
def test_pairs_are_read_from_their_columns(tmp_path, text, pairs):
    (tmp_path / "pairs.csv").write_text(text)
    side = read_embeddings(good(tmp_path), "b")
    assert [pair[:2] for pair in read_named_pairs(tmp_path / "pairs.csv", side, side)] == pairs
    columns = true_columns(str(tmp_path / "pairs.csv"), side, side)
    assert {row: column for row, column in enumerate(columns) if column >= 0} == dict(pairs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1,2\n1,2,3\n", "needed two columns; got 3"),
        ("a,b,c\n0,1,2\n", "needed two columns; got 3"),
        ("0\n1\n", "needed two columns; got 1"),
        ("row,column\n0,1,2\n", "0,1,2 is not a pair of ids"),
        ("s,0\n1,2\n", "s,0 is not a pair of ids"),  # no header: it names a sample
    ],
)
def test_pairs_that_are_not_clear_are_refused(tmp_path, text, message):
    (tmp_path / "pairs.csv").write_text(text)
    side = read_embeddings(good(tmp_path), "b")
    with pytest.raises(DataError, match=message):
        read_named_pairs(tmp_path / "pairs.csv", side, side)


def test_true_pairs_may_be_numbers_of_rows(tmp_path):
    side = read_embeddings(good(tmp_path), "b")
    np.save(tmp_path / "pairs.npy", np.array([[0, 3], [2, 1]], dtype=np.uint16))
    assert true_columns(str(tmp_path / "pairs.npy"), side, side).tolist() == [3, -1, 1, -1, -1, -1]
    for wrong in ([[0, 3], [0, 1]], [[0, 3], [1, 3]], [[0, 9]], [[9, 0]], [[-1, 0]]):
        np.save(tmp_path / "pairs.npy", np.array(wrong))
        with pytest.raises(DataError):
            true_columns(str(tmp_path / "pairs.npy"), side, side)


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        (["0,1,2", "0.5,1.5,2.5", "1,2,3"], 2),  # as pandas heads columns without names
        (["0,1,2,3", "5,6,7,8"], 1),
        (["0,1,2", "5,6,7"], 2),
        (["1,2,3,4", "5,6,7,8"], 2),
    ],
)
def test_a_line_that_counts_columns_is_their_head(tmp_path, lines, rows):
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    found = read_embeddings(tmp_path / "a.csv", "a")
    assert len(found.x) == rows
    assert any("counts the columns" in note for note in found.notes) == (rows < len(lines))


@pytest.mark.parametrize("text", ["1,5;2,25\n3,0;4,5\n", "a;b\n1,5;2,25\n", 'x\ty\n"0,5"\t"-1,5e3"\n'])
def test_decimal_commas_are_recognised(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match="decimal commas") as failed:
        read_embeddings(tmp_path / "x.csv", "x")
    assert "decimal=','" in failed.value.hint


def test_decimal_points_with_any_separator_are_read(tmp_path):
    for name, text in {"a": "1,5\n2,6\n", "b": "1.5;2\n3;4\n", "c": "1.5\t2\n3\t4\n"}.items():
        (tmp_path / f"{name}.csv").write_text(text)
        assert read_embeddings(tmp_path / f"{name}.csv", name).x.shape == (2, 2)

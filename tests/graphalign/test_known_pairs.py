"""Tables aligned from few known pairs: the second order without its matrices, what is found, and when it is trusted."""

import numpy as np
import pytest
import torch

import graphalign as ga
from graphalign.similarities import Similarities

ROWS, KNOWN = 200, 12


def views(seed, noise=0.3, same=True):
    """Two noisy nonlinear views of one hidden cloud of 20 clusters; or of two clouds that share only their centres."""
    g = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(*shape, generator=g)

    def cloud():
        return centres[torch.randint(0, 20, (2 * ROWS,), generator=g)] + drawn(2 * ROWS, 16)

    centres = 1.5 * drawn(20, 16)
    first = cloud()
    second = first if same else cloud()
    return tuple(
        torch.tanh(z @ drawn(16, width) / 4) + noise * drawn(2 * ROWS, width)
        for z, width in ((first, 96), (second, 64))
    )


def shuffled(y, seed=0):
    """The rows in another order, that order, and the places of the first rows as known pairs."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return y[order], order, [(i, int((order == i).nonzero())) for i in range(KNOWN)]


def right(found, order):
    return float((order[found.cols] == found.rows)[~found.known].float().mean())


def unit(x):
    return torch.nn.functional.normalize(x, dim=-1)


def similarities(x):
    """Standardised cosines off the diagonal, by their definition."""
    alike, off = x @ x.T, ~torch.eye(len(x), dtype=torch.bool)
    return (alike - alike[off].mean()) / alike[off].std(unbiased=False) * off


def test_the_product_of_similarities_is_that_of_the_matrices():
    generator = torch.Generator().manual_seed(0)
    x, y = (unit(torch.randn(*shape, dtype=torch.float64, generator=generator)) for shape in ((20, 5), (18, 4)))
    pairs = torch.tensor([[0, 1], [2, 3]])
    rows, cols = torch.tensor([1, *range(3, 20)]), torch.tensor([0, 2, *range(4, 18)])
    graphs = Similarities(x, y, pairs, rows, cols)
    columns = np.random.default_rng(0).permutation(18)
    columns = np.where(columns < 16, columns, -1)
    matching = torch.zeros(18, 16, dtype=torch.float64)
    chosen = np.flatnonzero(columns >= 0)
    matching[chosen, columns[chosen]] = 1
    a, b = similarities(x)[rows], similarities(y)[cols]
    torch.testing.assert_close(graphs.product(columns), a[:, rows] @ matching @ b[:, cols])
    torch.testing.assert_close(graphs.seeds, 2 * 3 / 20 * a[:, pairs[:, 0]] @ b[:, pairs[:, 1]].T)


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_the_pairs_and_is_trusted(seed):
    x, y = (side[:ROWS] for side in views(seed))
    y, order, known = shuffled(y, seed)
    found = ga.align(x, y, known)
    assert right(found, order) > 0.9
    assert found.trusted
    assert found.held_out > 0.8
    assert found.known.sum() == KNOWN
    assert found.confidence.abs().max() <= 1 + 1e-6
    nearest = found.scores(x, y).argmax(1)
    assert (order[nearest] == torch.arange(ROWS)).float().mean() > 0.9


def test_new_rows_are_mapped_to_their_partners():
    x, y = views(0)
    mixed, _, known = shuffled(y[:ROWS])
    found = ga.align(x[:ROWS], mixed, known)
    assert (found.scores(x[ROWS:], y[ROWS:]).argmax(1) == torch.arange(ROWS)).float().mean() > 0.8
    assert found.transform(x[ROWS:]).shape == (ROWS, 64)


def test_the_graphs_find_what_row_scores_alone_do_not():
    shares = {"lap": [], "faq": []}
    for seed in range(3):
        x, y = (side[:ROWS] for side in views(seed, noise=0.5))
        y, order, known = shuffled(y, seed)
        for solver, each in shares.items():
            each.append(right(ga.align(x, y, known, solver=solver), order))
    assert np.mean(shares["faq"]) > np.mean(shares["lap"]) + 0.05


@pytest.mark.parametrize("seed", range(3))
def test_missing_partners_are_not_trusted(seed):
    x, y = views(seed)
    half = torch.cat([y[: ROWS // 2], y[ROWS : ROWS + ROWS // 2]])
    half, _, known = shuffled(half, seed)
    found = ga.align(x[:ROWS], half, known)
    assert not found.trusted
    assert found.reproduced < found.reproduced_known


@pytest.mark.parametrize("seed", range(3))
def test_different_contents_are_not_trusted(seed):
    x, y = (side[:ROWS] for side in views(seed, same=False))
    y, _, known = shuffled(y, seed)
    found = ga.align(x, y, known)
    assert not found.trusted
    assert found.held_out < 1 / 3


def test_one_pair_alone_cannot_be_checked():
    x, y = (side[:ROWS] for side in views(0))
    found = ga.align(x, y, [(0, 0)])
    assert found.held_out is None
    assert not found.trusted


def test_tables_of_different_lengths_leave_rows_alone():
    x, y = (side[:ROWS] for side in views(1))
    known = [(i, i) for i in range(KNOWN)]
    assert len(ga.align(x[:150], y, known).rows) == 150
    found = ga.align(x, y[:150], known)
    assert len(found.rows) == len(set(found.cols.tolist())) == 150


def test_arrays_give_what_tensors_give_and_precision_is_kept():
    x, y = (side[:60] for side in views(2))
    known = [(i, i) for i in range(KNOWN)]
    found = ga.align(x, y, known)
    assert found.cols.equal(ga.align(x.numpy(), y.numpy(), np.array(known)).cols)
    assert ga.align(x.double(), y, torch.tensor(known)).weight.dtype == torch.float64


def test_half_of_the_partners_missing_in_clear_tables_is_not_trusted():
    """Right pairs are nearly all reproduced there, so half of them is a high share: known pairs tell that it is low."""
    for seed in range(3):
        x, y = views(seed, noise=0.2)
        half = torch.cat([y[: ROWS // 2], y[ROWS : ROWS + ROWS // 2]])
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(seed))
        known = [(i, int((order == i).nonzero())) for i in range(24)]
        found = ga.align(x[:ROWS], half[order], known)
        assert found.held_out > 0.6
        assert found.reproduced_known > 0.6
        assert not found.trusted


def test_tables_of_few_features_in_which_two_of_three_pairs_are_wrong_are_not_trusted():
    """Ten features of a tumour and their worst values are alike, and so are many tumours."""
    table = pytest.importorskip("sklearn.datasets").load_breast_cancer().data
    table = torch.from_numpy((table - table.mean(0)) / table.std(0)).float()
    for seed, known in ((13, 16), (14, 16), (12, 50)):
        order = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:300]
        shuffle = torch.randperm(300, generator=torch.Generator().manual_seed(seed + 77))
        x, y = table[order, :10], table[order, 20:][shuffle]
        found = ga.align(x, y, torch.stack([torch.arange(known), shuffle.argsort()[:known]], 1))
        assert right(found, shuffle) < 0.45
        assert found.held_out > 1 / 3
        assert not found.trusted


def test_equal_rows_are_not_trusted():
    x, y = (side[:60] for side in views(2))
    x, y = (torch.cat([side[:12], side[12:13].expand(48, -1)]) for side in (x, y))
    found = ga.align(x, y, [(i, i) for i in range(12)])
    assert found.reproduced < 0.1
    assert not found.trusted


def test_two_pairs_found_again_are_no_proof():
    x, y = (side[:ROWS] for side in views(0))
    for known in (1, 2):
        assert not ga.align(x, y, [(i, i) for i in range(known)]).trusted
    assert not ga.align(x[:2], y[:2], [(0, 0), (1, 1)]).trusted


def test_the_result_is_one_line_that_names_the_checks_that_failed():
    x, y = (side[:ROWS] for side in views(0))
    shown = repr(ga.align(x, y, [(0, 0)]))
    assert "\n" not in shown
    assert "1 known, held_out=None" in shown
    assert "only one pair is known, so none can be hidden and found again" in shown
    other = ga.align(x, y.flip(0), [(i, i) for i in range(12)])
    assert any("of the hidden known pairs were found again, and 50.0% are needed" in line for line in other.doubts)
    assert ga.align(x, y, [(i, i) for i in range(24)]).doubts == ()


@pytest.mark.parametrize("rows", [2, 3, 13])
def test_a_single_row_may_be_left_to_match(rows):
    x, y = (side[:rows] for side in views(0))
    found = ga.align(x, y, [(i, i) for i in range(rows - 1)])
    assert found.cols.tolist() == list(range(rows))


def test_known_pairs_come_in_any_form():
    frame = pytest.importorskip("pandas").DataFrame
    x, y = (side[:60] for side in views(2))
    known = [(i, i) for i in range(KNOWN)]
    expected = ga.align(x, y, known)
    pairs = np.array(known)
    for form in (dict(known), zip(*pairs.T, strict=True), frame(known), torch.tensor(known), pairs.astype(np.uint64)):
        assert ga.align(x, y, form).cols.equal(expected.cols)
    assert ga.align(frame(x.numpy()), frame(y.numpy()).convert_dtypes(), known).cols.equal(expected.cols)
    headed = frame({"confidence": 1.0, "column": pairs[:, 1], "row": pairs[:, 0]}).convert_dtypes()
    crossed = ga.align(x, y.roll(1, 0), headed.assign(column=headed["column"] + 1))
    assert crossed.cols.equal((expected.cols + 1) % 60)
    assert crossed.held_out == expected.held_out


def test_the_generator_alone_decides_the_folds():
    x, y = (side[:80] for side in views(3, noise=0.5))
    known = [(i, i) for i in range(KNOWN)]

    def again(seed):
        return ga.align(x, y, known, generator=torch.Generator().manual_seed(seed)).held_out

    torch.manual_seed(1)
    first = [again(seed) for seed in range(6)]
    torch.manual_seed(2)
    assert [again(seed) for seed in range(6)] == first
    assert len(set(first)) > 1
    found = ga.align(x, y, known)
    assert torch.equal(found.confidence, ga.align(x, y, known).confidence)


def test_new_rows_of_another_width_are_refused():
    found = ga.align(torch.eye(8), torch.eye(8), [(0, 0)])
    for rows in ((torch.eye(3), torch.eye(8)), (torch.eye(8), torch.eye(3))):
        with pytest.raises(ValueError, match="rows of 8 numbers, as before; got 3"):
            found.scores(*rows)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.eye(4).to_sparse(), "must be dense"),
        (torch.eye(4).to(torch.complex64), "complex"),
        (np.ma.masked_less(np.eye(4), 1), "masked entries"),
        ([["a", "b"]] * 4, "must hold numbers"),
    ],
)
def test_a_table_that_is_not_one_of_numbers_is_refused(x, message):
    with pytest.raises(TypeError, match=message):
        ga.align(x, torch.eye(4), [(0, 0)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"known": []}, "one at least"),
        ({"known": {0, 1}}, "one at least"),
        ({"known": None}, "one at least; got None"),
        ({"known": 3}, "one at least; got 3"),
        ({"known": np.array([[0, 2**63]], dtype=np.uint64)}, "names row 9223372036854775807 of y"),
        ({"x": torch.ones(8, 3) / 3}, "the rows of x are all equal"),
        ({"known": [(0, 0), (1,)]}, "one at least"),
        ({"known": [("a", "b")]}, "whole numbers"),
        ({"known": [(True, False)]}, "whole numbers"),
        ({"rounds": 2.5}, "whole rounds"),
        ({"rounds": True}, "whole rounds"),
        ({"ridge": float("nan")}, "finite ridge"),
        ({"ridge": float("inf")}, "finite ridge"),
        ({"known": [(0.5, 1.0)]}, "whole numbers"),
        ({"known": [(0, 0), (0, 1)]}, "row 0 of x is in two known pairs"),
        ({"known": [(0, 0), (1, 99)]}, "known pair 1 names row 99 of y"),
        ({"known": [(-1, 0)]}, "known pair 0 names row -1 of x"),
        ({"rounds": 0}, "rounds"),
        ({"ridge": 0.0}, "ridge"),
        ({"solver": "sinkhorn"}, "solver"),
        ({"x": torch.zeros(5)}, "must be a matrix"),
        ({"x": torch.tensor([[1.0], [torch.nan], [2.0]])}, "the first is row 1"),
    ],
)
def test_what_is_wrong_is_said(change, message):
    given = {"x": torch.eye(8), "y": torch.eye(8), "known": [(0, 0)]} | change
    with pytest.raises(ValueError, match=message):
        ga.align(given.pop("x"), given.pop("y"), given.pop("known"), **given)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_rows_without_a_length_are_refused(scale):
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    for tables in ((scale * x + 1e-30, x), (x, scale * x)):
        with pytest.raises(ValueError, match="all equal, or so small or large"):
            ga.align(*tables, [(0, 0), (1, 1), (2, 2)])


def test_a_ridge_below_the_precision_is_refused():
    """The first six known rows are equal, so that the system is singular without the ridge."""
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(20, width, dtype=torch.float64, generator=g) for width in (9, 7))
    x[:6] = x[0]
    with pytest.raises(ValueError, match="ridge=1e-300 is too small for rows of unit length in float64"):
        ga.align(x, y, [(i, i) for i in range(8)], ridge=1e-300)


def test_a_table_without_content_is_refused():
    with pytest.raises(TypeError, match="align: x must hold numbers; got a tensor on the device meta"):
        ga.align(torch.eye(3, device="meta"), torch.eye(3), [(0, 0)])


def test_where_all_pairs_are_known_nothing_is_said_of_others():
    x, y = (side[:40] for side in views(0))
    found = ga.align(x, y, [(i, i) for i in range(40)])
    assert found.reproduced is None
    assert "reproduced=None" in repr(found)
    assert found.trusted == (found.held_out >= 1 / 2)
    wrong = ga.align(x, y, [(i, 39 - i) for i in range(40)])
    assert not wrong.trusted


def test_a_seed_is_not_a_generator():
    with pytest.raises(TypeError, match=r"torch\.Generator"):
        ga.align(torch.eye(3), torch.eye(3), [(0, 0)], generator=3)


def test_the_reference_must_be_one_of_the_tables():
    with pytest.raises(ValueError, match="reference 'z'"):
        ga.align_to_reference({"a": torch.eye(3), "b": torch.eye(3)}, "z", {"b": [(0, 0)]})
    with pytest.raises(ValueError, match=r"got tables \[0, 'b'\] and known pairs for \[1\]"):
        ga.align_to_reference({0: torch.eye(3), "b": torch.eye(3)}, "z", {1: [(0, 0)]})
    with pytest.raises(ValueError, match=r"x is the table 'c', y is the reference.* names row 9 of y"):
        ga.align_to_reference(dict.fromkeys("abc", torch.eye(3)), "a", {"b": [(0, 0)], "c": [(0, 9)]})
    with pytest.raises(TypeError, match="mappings"):
        ga.align_to_reference([torch.eye(3)] * 2, "a", {"b": [(0, 0)]})


def test_one_row_alone_is_mapped_and_whole_numbers_are_a_table():
    x = torch.randint(-9, 9, (40, 6), generator=torch.Generator().manual_seed(0))
    found = ga.align(x.numpy(), -x, [(i, i) for i in range(12)])
    assert found.weight.dtype == torch.float64
    assert torch.equal(found.scores(x[3:4], -x).argmax(1), torch.tensor([3]))

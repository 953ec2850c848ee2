"""Grids mean what they say, and refuse what cannot be meant."""

import pytest

from medmllm.ablate.grid import load_grid, shipped, split_values
from medmllm.errors import ConfigError
from medmllm.settings.load import differences


def test_a_grid_is_the_product_of_its_axes_seed_by_seed(grid_file):
    grid = load_grid(grid_file())
    assert [(cell.point["solver"], cell.point["weight"], cell.seed) for cell in grid.cells] == [
        (solver, weight, seed) for seed in (0, 1) for solver in ("hungarian", "sinkhorn") for weight in ("0", "1")
    ]
    assert all(cell.config.seed == cell.seed for cell in grid.cells)


def test_any_setting_can_be_an_axis(grid_file):
    grid = load_grid(grid_file(), axes=["train.lr=1e-3,2e-3", "align.graph=knn(k=3),complete"], seeds=1)
    assert {axis.name for axis in grid.axes} == {"solver", "weight", "train.lr", "align.graph"}
    assert {(c.config.train.lr, c.config.align.graph) for c in grid.cells} == {
        (lr, graph) for lr in (1e-3, 2e-3) for graph in ("knn(k=3)", "complete")
    }


def test_settings_of_parts_are_axes_too():
    axes = ["align.estimator.samples=2,8", "estimator.noise.scale=0.1,0.2", "align.solver=lap,sinkhorn(tau=0.3)"]
    cells = load_grid(None, [], axes, 1).cells
    assert {(c.config.align.solver, c.config.align.estimator) for c in cells} == {
        (solver, f"imle(lam=1.0, noise=gumbel(scale={scale}), samples={samples})")
        for solver in ("lap", "sinkhorn(tau=0.3)") for scale in (0.1, 0.2) for samples in (2, 8)
    }  # fmt: skip
    assert len({cell.key for cell in cells}) == 8


def test_an_axis_of_the_command_line_replaces_that_of_the_file(grid_file):
    grid = load_grid(grid_file(), axes=["weight=2,3,4"])
    assert [list(axis.values) for axis in grid.axes] == [["hungarian", "sinkhorn"], ["2", "3", "4"]]


def test_without_a_file_the_axes_are_those_of_the_command_line():
    grid = load_grid(None, ["train.steps=3"], ["solver=hungarian,faq"], 1)
    assert (grid.name, [axis.name for axis in grid.axes], grid.base) == ("ablation", ["solver"], "demo")
    assert {cell.config.train.steps for cell in grid.cells} == {3}


def test_commas_inside_brackets_belong_to_a_value():
    assert split_values("imle(lam=1, noise=gumbel(0.2)),blackbox") == ["imle(lam=1, noise=gumbel(0.2))", "blackbox"]


def test_pairs_that_cannot_work_are_skipped_with_the_reason(grid_file):
    cells = load_grid(grid_file(axes={"solver": ["hungarian", "sinkhorn"], "estimator": ["implicit"]}, seeds=1)).cells
    assert [cell.config is None for cell in cells] == [True, False]
    assert "implicit needs a solver" in cells[0].skipped


def test_equal_settings_share_a_folder_and_others_do_not(grid_file):
    keys = [cell.key for cell in load_grid(grid_file()).cells]
    assert len(set(keys)) == len(keys)
    assert [cell.key for cell in load_grid(grid_file(name="other")).cells] == keys


def test_cells_of_one_seed_differ_in_their_axes_alone(grid_file):
    first, second, *_ = load_grid(grid_file()).cells
    assert differences(first.config, second.config) == ["align.weight"]


def test_runs_answer_the_split_that_is_compared_and_no_other(grid_file):
    assert {c.config.eval.splits for c in load_grid(grid_file(), split="validation").cells} == {("validation",)}
    assert {c.config.eval.splits for c in load_grid(grid_file(), ["eval.splits=[test, test_slab]"]).cells} == {
        ("test", "test_slab")
    }


def test_a_reference_compares_like_with_like(grid_file):
    grid = load_grid(grid_file(reference={"weight": 0}))
    assert grid.reference_of({"solver": "sinkhorn", "weight": "1"}) == {"solver": "sinkhorn", "weight": "0"}
    assert load_grid(grid_file()).reference_of({"solver": "sinkhorn", "weight": "1"}) == {
        "solver": "hungarian",
        "weight": "0",
    }


def test_a_grid_reads_back_as_it_was(grid_file):
    from medmllm.ablate.grid import from_tree

    grid = load_grid(
        grid_file(exclude=[{"solver": "sinkhorn", "weight": 0}], reference={"weight": 0}, split="validation")
    )
    assert from_tree(grid.to_dict()) == grid
    assert len(grid.points()) == 3


@pytest.mark.parametrize(
    ("keys", "words", "sentence"),
    [
        ({"axis": {}}, {}, "knows no key 'axis'"),
        ({"axes": {"solver": []}}, {}, "needs a list of values"),
        ({"axes": {"solver": ["faq", "faq"]}}, {}, "has faq twice"),
        ({"axes": {"solver": ["faq"], "align.solver": ["lap"]}}, {}, "both set align.solver"),
        ({"reference": {"solver": "lap"}}, {}, "no solver=lap"),
        ({"exclude": [{"weight": 0}, {"weight": 1}]}, {}, "no run"),
        ({"exclude": [{"weight": 0}], "reference": {"weight": 0}}, {}, "reference is excluded"),
        ({"split": "tset"}, {}, "no split is called 'tset'"),
        ({}, {"axes": ["solver"]}, "is not an axis"),
        ({}, {"axes": ["solver=faq", "solver=lap"]}, "given twice"),
        ({}, {"reference": ["hungarian"]}, "names no point"),
        ({"axes": {"align.slover": ["faq"]}}, {}, "did you mean"),
    ],
)
def test_what_cannot_be_meant_is_refused(grid_file, keys, words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_grid(grid_file(**keys), **words).cells  # noqa: B018


def test_an_unknown_grid_names_the_nearest():
    with pytest.raises(ConfigError) as caught:
        load_grid("data-eficiency")
    assert caught.value.hint == "did you mean data-efficiency?"


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_grid_can_be_run(name):
    grid = load_grid(name, seeds=1)
    ready = [cell for cell in grid.cells if cell.config is not None]
    assert len({cell.key for cell in ready}) == len(ready) >= 2
    assert all(cell.skipped for cell in grid.cells if cell.config is None)
    assert any(grid.reference_of(cell.point) == cell.point for cell in ready)

"""`exgra ablate` and `exgra report` from the plan to the last file."""

import json

import pytest

FILES = ["report.html", "report.md", "results.csv", "results.json", "table.tex"]


@pytest.fixture
def grid(tiny, tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(
        f"""base: {tiny}
axes:
  weight: [0, 1]
  lr:
    usual: {{}}
    wild: {{train.lr: 1.0e+30, train.clip: 1.0e+30}}
exclude: [{{weight: 0, lr: wild}}]
"""
    )
    return path


def test_dry_run_says_what_would_be_run_and_makes_nothing(exgra, grid, tmp_path, monkeypatch):
    monkeypatch.setattr("medmllm.ablate.cost.seconds_of", lambda config, jobs: 30.0)
    result = exgra("ablate", grid, "--dry-run", "--seeds", 2)
    assert result.code == 0
    assert "6 to do, 0 finished, 0 skipped" in result.err
    assert "about 3 min 00 s" in result.err
    assert result.out.count("missing") == 6
    assert not (tmp_path / "runs").exists()


def test_a_sweep_with_a_run_that_diverges_is_partly_done(exgra, grid, tmp_path, monkeypatch):
    monkeypatch.setattr("medmllm.ablate.cost.seconds_of", lambda config, jobs: None)
    result = exgra("ablate", grid, "--jobs", 3, "--json")
    assert result.code == 5
    assert [(run["point"]["lr"], run["status"]) for run in result.json["runs"]] == [
        ("usual", "done"),
        ("usual", "done"),
        ("wild", "failed"),
    ]
    folder = tmp_path / "runs" / "grid"
    assert {*FILES, "findings.json.gz"} <= {path.name for path in folder.iterdir()}
    said = (folder / "report.md").read_text("utf-8")
    assert "## Failed" in said
    assert "diverged at step" in said
    assert "diverged at step" in (folder / "report.html").read_text("utf-8")
    check_report(exgra, folder, tmp_path)


def check_report(exgra, folder, tmp_path):
    """The report is made again from the runs, and from the findings alone."""
    before = (folder / "results.json").read_text("utf-8")
    assert exgra("report", folder).code == 0
    assert (folder / "results.json").read_text("utf-8") == before
    (tmp_path / "mine.json.gz").write_bytes((folder / "findings.json.gz").read_bytes())
    result = exgra("report", tmp_path / "mine.json.gz", "--json")
    assert result.code == 0
    assert result.json == json.loads(before)
    assert {path.name for path in (tmp_path / "mine").iterdir()} == set(FILES)


def test_resume_needs_a_sweep(exgra, grid):
    result = exgra("ablate", grid, "--resume")
    assert result.code == 2
    assert "no sweep to resume" in result.err


def test_what_is_no_run_has_no_report(exgra, tmp_path):
    result = exgra("report", tmp_path)
    assert result.code == 2
    assert "holds no run" in result.err
    result = exgra("report", tmp_path / "nope")
    assert (result.code, "the folder does not exist" in result.err, "--resume" in result.err) == (2, True, False)

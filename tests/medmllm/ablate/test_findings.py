"""One small file holds what every figure is made from."""

import gzip
import json

import numpy as np
import pytest

from medmllm.ablate.findings import Findings, thinned
from medmllm.ablate.results import analyse
from medmllm.errors import ConfigError, RunError


def test_findings_read_back_give_the_same_results(sweep, tmp_path):
    findings = Findings.of(sweep)
    findings.save(tmp_path / "findings.json.gz")
    again = Findings.load(tmp_path / "findings.json.gz")
    assert again.grid == findings.grid
    assert again.questions == findings.questions
    assert all(np.array_equal(a.right, b.right) for a, b in zip(again.runs, findings.runs, strict=True))
    assert analyse(again).to_dict() == analyse(findings).to_dict()
    assert json.dumps(analyse(again).to_dict()) == json.dumps(analyse(findings).to_dict())


def test_what_guessing_reaches_is_kept_and_missed_by_nobody(sweep, tmp_path):
    findings = Findings.of(sweep)
    assert {run.guessing for run in findings.runs} == {None}  # runs of before that knew no guessing
    assert all("guessing" not in run.to_dict() for run in findings.runs)
    for run in findings.runs:
        if run.status == "done":
            file = sweep.cells / run.key / "summary.json"
            saved = json.loads(file.read_text())
            saved["test"]["majority"] = 0.625
            file.write_text(json.dumps(saved))
    Findings.of(sweep).save(tmp_path / "f")
    again = Findings.load(tmp_path / "f")
    assert {run.guessing for run in again.runs} == {0.625, None}
    assert [arm.guessing for arm in analyse(again).arms] == [0.625, 0.625, 0.625, None, None]
    assert {arm.guessing for arm in analyse(again, source="films").arms} == {None}


def test_the_same_findings_give_the_same_bytes(sweep, tmp_path):
    for name in "ab":
        Findings.of(sweep).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert len((tmp_path / "a").read_bytes()) < 10_000


def test_questions_know_their_people_and_sources(sweep):
    findings = Findings.of(sweep)
    assert len(findings.questions) == 60
    assert {question.person for question in findings.questions} == {f"p{i}" for i in range(20)}
    assert {question.source for question in findings.questions} == {"films", "slices"}


def test_runs_that_were_asked_other_questions_are_refused(sweep):
    done = next(run for run in sweep.outcomes() if run.status == "done")
    path = sweep.cells / done.key / "eval" / "test.samples.jsonl"
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[1:]))
    with pytest.raises(RunError, match="not asked the same questions"):
        Findings.of(sweep)


def test_curves_keep_validations_and_thin_losses():
    lines = [{"step": s, "loss_lm": float(s)} for s in range(1, 601)] + [{"step": 600, "validation": {"accuracy": 0.5}}]
    kept = thinned(lines)
    assert kept[0] == {"step": 600, "validation": {"accuracy": 0.5}}
    assert kept[1] == {"step": 10, "loss_lm": 5.5}
    assert len(kept) == 61


@pytest.mark.parametrize("data", [b"", b"no gzip", gzip.compress(b"{}"), gzip.compress(b'{"schema": 99}')])
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "x.json.gz").write_bytes(data)
    with pytest.raises(ConfigError, match="holds no findings"):
        Findings.load(tmp_path / "x.json.gz")

"""Points are ranked and compared with what they should be compared with."""

from dataclasses import replace

import pytest

from medmllm.ablate.findings import Findings
from medmllm.ablate.results import analyse, standing
from medmllm.errors import ConfigError


def test_the_best_point_comes_first_and_those_without_runs_last(sweep):
    results = analyse(Findings.of(sweep))
    assert [arm.label for arm in results.arms] == ["good", "even", "bad", "fails", "never"]
    assert [arm.mean is None for arm in results.arms] == [False, False, False, True, True]
    assert [arm.failed for arm in results.arms] == [0, 0, 0, 4, 0]
    assert results.arms[3].reason == "training diverged at step 2"
    assert not results.complete


def test_a_gain_and_a_loss_are_found_and_the_reference_is_compared_with_nothing(sweep):
    good, even, bad, *_ = analyse(Findings.of(sweep)).arms
    assert [arm.verdict for arm in (good, even, bad)] == ["better", "-", "worse"]
    assert good.comparison.difference == pytest.approx(good.mean - even.mean)
    assert good.comparison.people == 20
    assert good.p_holm >= good.comparison.p


def test_one_seed_makes_nothing_sure(sweep):
    findings = Findings.of(sweep)
    alone = replace(findings, runs=tuple(run for run in findings.runs if run.seed == 0))
    good, *_ = analyse(alone).arms
    assert good.p_holm < 0.05
    assert good.verdict == "one seed"


def test_another_reference_and_another_unit(sweep):
    results = analyse(Findings.of(sweep), reference={"arm": "bad"}, unit="question")
    assert [arm.verdict for arm in results.arms[:3]] == ["better", "better", "-"]
    assert results.arms[0].comparison.people is None


def test_questions_of_one_source_alone(sweep):
    findings = Findings.of(sweep)
    results = analyse(findings, source="films")
    assert (results.questions, results.people) == (36, 12)
    first = next(run for run in findings.runs if run.status == "done")
    films = [i for i, question in enumerate(findings.questions) if question.source == "films"]
    counted = next(run for run in results.runs if run.key == first.key)
    assert counted.accuracy == pytest.approx(first.right[films].mean())
    with pytest.raises(ConfigError, match="no question is from 'scans'"):
        analyse(findings, source="scans")


def test_the_standing_knows_no_comparison(sweep):
    results = standing(sweep)
    assert results.arms[0].label == "good"
    assert all(arm.comparison is None for arm in results.arms)


def test_like_is_compared_with_like(grid_file, known, tmp_path):
    from medmllm.ablate.grid import load_grid
    from medmllm.ablate.sweep import Sweep

    axes = {"align.graph": ["knn(k=5)", "knn(k=3)"], "weight": [1, 2]}
    sweep = Sweep.open(load_grid(grid_file(axes=axes, reference={"align.graph": "knn(k=5)"})), tmp_path / "runs" / "s")
    sweep.run(1, lambda *_: None)
    for arm in analyse(Findings.of(sweep)).arms:
        own = arm.point["align.graph"] == "knn(k=5)"
        assert arm.reference == (None if own else {**arm.point, "align.graph": "knn(k=5)"})


def test_questions_about_one_person_are_drawn_themselves(sweep):
    from dataclasses import replace

    findings = Findings.of(sweep)
    alone = replace(findings, questions=tuple(replace(q, person="one") for q in findings.questions))
    assert analyse(alone).unit == "question"
    with pytest.raises(ConfigError, match="about one person"):
        analyse(alone, unit="person")

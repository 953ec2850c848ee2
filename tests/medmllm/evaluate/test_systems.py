"""Several systems on the same questions: each is scored as alone, and tested against the first."""

import json

import pytest

from medmllm.errors import ConfigError, DataError
from medmllm.evaluate.systems import Rule, score_files, score_systems


@pytest.fixture
def files(tmp_path):
    """Questions about 20 images, and three systems of which each is wrong where its period says."""
    truth = [{"id": str(n), "image": f"{n % 20}.png", "question": f"Is it {n}?", "answer": "yes" if n % 3 else "no"}
             for n in range(60)]  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    for name, period in (("one", 20), ("two", 4), ("three", 2)):
        said = [
            {"id": row["id"], "prediction": row["answer"] if n % period else "maybe"} for n, row in enumerate(truth)
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps(said[::-1]))
    return tmp_path


def test_each_system_is_scored_as_alone_and_compared_as_with_a_baseline(files):
    systems = {name: files / f"{name}.json" for name in ("one", "two", "three")}
    found = score_systems(files / "truth.json", systems)
    assert found["first"] == "one"
    assert list(found["systems"]) == ["one", "two", "three"]
    assert [found["systems"][name]["strict"]["closed_accuracy"] for name in systems] == [95, 75, 50]
    for name in ("two", "three"):
        alone = score_files(files / "truth.json", files / "one.json", baseline=files / f"{name}.json")["comparison"]
        told = found["comparisons"][name]["strict"]["closed_accuracy"]
        assert {key: told[key] for key in ("difference", "low", "high", "p")} == {
            key: alone["strict"]["closed_accuracy"][key] for key in ("difference", "low", "high", "p")
        }
    raised = [found["comparisons"][name]["strict"]["closed_accuracy"] for name in ("two", "three")]
    least, most = sorted(raised, key=lambda one: one["p"])
    assert least["p_holm"] == pytest.approx(2 * least["p"])
    assert most["p_holm"] == pytest.approx(max(most["p"], 2 * least["p"]))


def test_a_system_that_lacks_answers_is_named_or_counted_wrong(files):
    said = json.loads((files / "two.json").read_text())
    (files / "two.json").write_text(json.dumps(said[:30]))
    systems = {name: files / f"{name}.json" for name in ("one", "two")}
    with pytest.raises(DataError, match=r"30 not answered.*") as caught:
        score_systems(files / "truth.json", systems)
    assert caught.value.where.endswith("two.json")
    found = score_systems(files / "truth.json", systems, Rule(missing_is_wrong=True))
    assert found["systems"]["two"]["strict"]["closed_accuracy"] < 50


def test_files_are_named_by_the_caller_or_by_themselves(files, monkeypatch):
    from exgra.commands.evaluate import named_files

    monkeypatch.chdir(files)
    (files / "a=b.json").write_text("[]")
    assert {name: str(path) for name, path in named_files(["x=one.json", "two.json", "a=b.json"]).items()} == {
        "x": "one.json",
        "two": "two.json",
        "a=b": "a=b.json",
    }
    with pytest.raises(ConfigError, match="two systems are called one"):
        named_files(["one.json", "one=two.json"])

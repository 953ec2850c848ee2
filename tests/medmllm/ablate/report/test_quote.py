"""A page quotes what the findings say, and nothing else."""

import pytest

from medmllm.ablate.findings import Findings
from medmllm.ablate.report.quote import quoted
from medmllm.ablate.results import analyse
from medmllm.errors import ConfigError


@pytest.fixture
def folder(sweep, tmp_path):
    Findings.of(sweep).save(tmp_path / "mine.json.gz")
    return tmp_path


def test_a_value_stands_between_its_comments(sweep, folder):
    good = analyse(Findings.of(sweep)).arms[0]
    page = "It gains <!-- value mine difference of=arm:good -->99<!-- /value --> points."
    made = quoted(page, folder)
    assert f"-->{100 * good.comparison.difference:+.1f}<!--" in made
    assert quoted(made, folder) == made
    assert quoted("<!-- value mine people source=films --><!-- /value -->", folder).count(">12<") == 1


def test_a_table_holds_the_rows_that_are_asked_for(folder):
    made = quoted("a\n<!-- table mine only=arm:bad unit=question -->old\n<!-- /table -->\nb", folder)
    rows = [line for line in made.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert rows[2].startswith("| 3 | bad |")
    assert "old" not in made
    assert quoted(made, folder) == made


def test_another_reference_changes_the_sign(folder):
    here, there = (
        quoted(f"<!-- value mine difference of=arm:{of} reference=arm:{reference} --><!-- /value -->", folder)
        for of, reference in (("good", "bad"), ("bad", "good"))
    )
    assert here.split(">")[1].startswith("+")
    assert there.split(">")[1].startswith("-")
    assert here.split(">")[1][1:] == there.split(">")[1][1:]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("mine difference", "5 points"),
        ("mine difference of=arm:even", "compared with nothing"),
        ("mine colour of=arm:good", "not a single figure"),
        ("mine difference of=arm:good unit=hospital", "nothing is drawn by"),
        ("other difference of=arm:good", "holds no findings"),
    ],
)
def test_a_comment_that_names_nothing_is_refused(folder, words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        quoted(f"<!-- value {words} -->1<!-- /value -->", folder)

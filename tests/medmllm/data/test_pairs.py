"""Captions from the pairs of `exgra align`: what is accepted, what is missing, and what is refused."""

import json
import shutil

import pytest

from medmllm.build import build_job
from medmllm.data.pairs import captions_by_id
from medmllm.data.sources import open_source
from medmllm.errors import ConfigError, DataError
from medmllm.training.trainer import train

ROWS = 48


@pytest.fixture
def archive(drawn, tmp_path):
    """Rows without captions, captions in a file of their own, and pairs: six known, the others ever less sure."""
    rows = [{k: v for k, v in row.items() if k != "conversations_long"} for row in json.loads(drawn.read_text())]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    shutil.copytree(drawn.parent / "images", tmp_path / "images")
    (tmp_path / "reports.csv").write_text(
        "id,caption\n" + "".join(f't{n},"The box, number {n}, lies somewhere."\n' for n in range(ROWS))
    )
    lines = [f"{n},{n},r{n},t{n},{1 - n / ROWS:.3f},{str(n < 6).lower()}\n" for n in range(ROWS)]
    (tmp_path / "pairs.csv").write_text("row,column,row_id,column_id,confidence,known\n" + "".join(lines))
    return tmp_path


@pytest.fixture
def config(tiny, archive):
    def make(**data):
        files = {"pairs": "pairs.csv", "captions": "reports.csv"}
        given = {"source": str(archive / "rows.json"), **{key: str(archive / name) for key, name in files.items()}}
        return tiny(data={**given, **data})

    return make


@pytest.mark.parametrize(("least", "accepted"), [(0.5, 25), (1.0, 6), (0.0, 48), (-1.0, 48)])
def test_rows_in_accepted_pairs_get_their_caption_and_the_others_lack_one(config, least, accepted):
    source = open_source(config(min_confidence=least).data)
    for record in source.records("train"):
        number = int(record.id[1:])
        assert record.caption_missing == (number >= accepted)
        assert (record.caption == f"The box, number {number}, lies somewhere.") == (number < accepted)
    told = [line for line in source.warnings if "pairs give captions" in line]
    assert told == [
        f"{config().data.pairs}: {accepted} pairs give captions (6 known), {ROWS - accepted} below a confidence of "
        f"{least:g}"
    ]
    assert not any(record.caption_missing for record in source.records("validation"))


def test_training_on_accepted_pairs_aligns_more_captions_than_on_known_ones(config, tmp_path):
    missing = {}
    for least in (0.3, 1.0):
        train(config(min_confidence=least), tmp_path / str(least))
        lines = [json.loads(line) for line in (tmp_path / str(least) / "metrics.jsonl").read_text().splitlines()]
        missing[least] = [line.get("missing_captions", 0) for line in lines if "loss_align" in line]
        files = json.loads((tmp_path / str(least) / "data.json").read_text())["files"]
        assert [entry["path"].rpartition("/")[2] for entry in files] == ["rows.json", "pairs.csv", "reports.csv"]
    assert sum(missing[0.3]) < sum(missing[1.0])


def test_a_distrusted_alignment_is_reported(config, archive):
    (archive / "summary.json").write_text('{"trusted": false}')
    assert any("this alignment is not trusted" in line for line in open_source(config().data).warnings)
    (archive / "summary.json").write_text('{"trusted": true}')
    assert not any("not trusted" in line for line in open_source(config().data).warnings)


def test_captions_may_be_json(config, archive):
    rows = [{"id": f"t{n}", "text": f"Text {n}."} for n in range(ROWS)]
    (archive / "reports.json").write_text(json.dumps(rows))
    job = build_job(config(captions=str(archive / "reports.json")))
    assert {record.caption for record in job.records} == {f"Text {record.id[1:]}." for record in job.records}


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("pairs.csv", lambda text: text.replace("row_id", "name"), "the pairs need the columns row_id, column_id"),
        ("pairs.csv", lambda text: text.replace(",t3,", ",t99,"), "reports.csv has no caption 't99'"),
        ("pairs.csv", lambda text: text.replace(",r9,", ",r8,"), "the row 'r8' is in two pairs"),
        ("pairs.csv", lambda text: text.replace("0.750", "much"), "the confidence 'much' is not a number"),
        ("pairs.csv", lambda text: text + "1,2\n", "another number of columns"),
        (
            "pairs.csv",
            lambda text: text.replace(",r", ",x").replace("xow", "row"),
            "no accepted pair names a training row by its id",
        ),
        ("reports.csv", lambda text: text.replace("t5,", "t4,"), "the id 't4' occurs twice"),
        ("reports.csv", lambda text: text.replace("id,caption", "id,words"), "a row needs an `id` and a `caption`"),
    ],
)
def test_what_does_not_fit_is_refused(config, archive, file, change, sentence):
    text = (archive / file).read_text()
    assert change(text) != text
    (archive / file).write_text(change(text))
    with pytest.raises(DataError, match=sentence.replace("(", r"\(")):
        open_source(config().data)


def test_settings_that_do_not_fit_are_refused(config, tiny, archive):
    with pytest.raises(ConfigError, match=r"data\.captions is missing"):
        open_source(config(captions=None).data)
    with pytest.raises(ConfigError, match=r"data\.pairs is missing"):
        open_source(config(pairs=None).data)
    with pytest.raises(ConfigError, match="rows of a data file alone"):
        open_source(config(source="embedded").data)
    with pytest.raises(DataError, match="the file of pairs does not exist"):
        open_source(config(pairs=str(archive / "none.csv")).data)
    with pytest.raises(DataError, match="the file of captions does not exist"):
        open_source(config(captions=str(archive / "none.csv")).data)
    (archive / "captions.csv").write_text("nr,words\n1,A film.\n")
    with pytest.raises(DataError, match="no column is known; the columns are nr, words") as error:
        captions_by_id(archive / "captions.csv")
    assert "name them id and caption," in error.value.hint

"""Files of references and answers in the forms that systems write, and answers that do not fit."""

import csv
import json
from functools import partial
from pathlib import Path

import pytest

from medmllm.data.formats.fields import only
from medmllm.errors import DataError
from medmllm.evaluate.candidates import read_candidates
from medmllm.evaluate.items import Item, UnmatchedError, pair, read_predictions
from medmllm.evaluate.references import read_references
from medmllm.evaluate.report import strict_points
from medmllm.evaluate.systems import score_files
from medmllm.evaluate.unanswered import read_questions


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        if name.endswith(".jsonl"):
            content = "".join(json.dumps(row) + "\n" for row in content)
        elif name.endswith(".csv"):
            with path.open("w", newline="") as file:
                csv.writer(file).writerows(content)
            return path
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return path

    return write


def vqa(name, answer, closed, **more):
    turns = [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": answer}]
    kind = "CLOSED" if closed else "OPEN"
    return {"id": name, "image": f"{name}.jpg", "answer_type": kind, "conversations": turns, **more}


def test_vqa_files_with_options(write):
    wrong = vqa(2, "No", True)
    wrong["conversatons"] = wrong.pop("conversations")
    one, two = read_references(write("test_w_options_new.json", [vqa("1", "left lung", False, modality="CT"), wrong]))
    assert (one.id, one.question, one.reference, one.closed) == ("1", "Where?", "left lung", False)
    assert (one.kind, one.modality, one.cluster) == ("open", "CT", "1.jpg")
    assert (two.id, two.reference, two.closed) == ("2", "No", True)


def test_flat_files_of_other_benchmarks(write):
    slake = {"qid": 7, "img_name": "x/1.jpg", "question": "Which?", "answer": "Yes", "answer_type": "CLOSED",
             "content_type": "Organ", "modality": "MRI"}  # fmt: skip
    pathvqa = {"question_id": 8, "image": "b", "question": "What?", "answer": 3, "answer_type": "number"}
    omni = {"question_id": "o", "gt_answer": "CT", "modality_type": "CT", "image_path": "i.png"}
    bare = {"id": "9", "answer": "no"}
    first, second, third, last = read_references(write("r.jsonl", [slake, pathvqa, omni, bare]))
    assert (first.id, first.closed, first.kind, first.modality, first.cluster) == ("7", True, "Organ", "MRI", "x/1.jpg")
    assert (second.reference, second.closed, second.kind) == ("3", False, "number")
    assert (third.reference, third.modality, third.cluster) == ("CT", "CT", "i.png")
    assert last.closed  # without a type, a true answer of yes or no


def test_rows_without_ids_are_numbered_as_predict_numbers_them(write):
    path = write("test.csv", [["image", "question", "answer"], *[["a.png", "Where?", "left"]] * 3])
    assert [item.id for item in read_references(path)] == ["1", "2", "3"]
    assert [record.id for record in read_questions(path, None)[1]] == ["1", "2", "3"]


def test_answers_of_many_systems(write):
    llava = {"question_id": 1, "prompt": "Where?", "text": "left", "answer_id": "x", "model_id": "m", "metadata": {}}
    simple = {"id": "2", "prediction": "right"}
    biomedgpt = {"question_id": 3, "answer": "ct"}
    reply = {"choices": [{"message": {"content": "It is CT."}}]}
    openai = {"id": "batch_1", "custom_id": "4", "response": {"status_code": 200, "body": reply}, "error": None}
    dropped = {"id": "batch_2", "custom_id": "5", "response": None, "error": {"code": "expired"}}
    empty = {
        "id": "6",
        "prediction": "",
        "answer": "the truth",
    }  # a line of a run's samples: the truth is not an answer
    said = read_predictions(write("a.jsonl", [llava, simple, biomedgpt, openai, dropped, empty]))
    assert [(one.id, one.text) for one in said] == [
        ("1", "left"), ("2", "right"), ("3", "ct"), ("4", "It is CT."), ("5", ""), ("6", ""),
    ]  # fmt: skip


def test_a_truth_beside_an_answer_is_not_scored_as_the_answer(write):
    for name in ("prediction", "predicted", "model_answer", "Model Output", "generated_answer"):
        path = write("p.jsonl", [{"id": 1, "text": "Where?", "output": "left", "answer": "left", name: "right"}])
        assert [one.text for one in read_predictions(path)] == ["right"]
    heard = []
    (one,) = read_predictions(write("p.jsonl", [{"id": 1, "answer": "left", "med_says": "right"}]), heard.append)
    assert one.text == "left"
    assert "read from `answer`, and not from med_says" in heard[0]
    for row in ({"question_id": 1, "answer": "ct"}, {"id": 1, "image": "a.png", "question": "Q", "answer": "ct"}):
        read_predictions(write("p.jsonl", [row]), heard.append)
    assert len(heard) == 1
    with pytest.raises(DataError, match="no column holds answers; the columns are id, med_says"):
        read_predictions(write("p.jsonl", [{"id": 1, "med_says": "right"}]))


UNREADABLE = [
    ("p.csv", [["qnr", "said"], ["1", "yes"]], "the columns are qnr, said"),
    ("p.json", {str(n): "yes" for n in range(7)}, "with the keys 0, 1, 2, 3, 4 and 2 more, not a list of rows"),
    ("p.json", {"id": 1, "prediction": "yes"}, "with the keys id, prediction, not a list of rows"),
    ("p.json", "1", "the top level is a number, not a list of rows"),
    ("p.jsonl", [{str(n): "yes" for n in range(900)}], "and 880 more"),
]


@pytest.mark.parametrize(("name", "content", "message"), UNREADABLE)
def test_predictions_that_cannot_be_read_are_told_their_own_columns(write, name, content, message):
    with pytest.raises(DataError, match=message) as error:
        read_predictions(write(name, content))
    assert "id" in error.value.hint
    assert "prediction" in error.value.hint
    assert "image" not in error.value.hint
    assert error.value.hint.endswith("see docs/evaluation.md")
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("content", [[["nr", "truth"], ["1", "yes"]], {"1": "yes"}])
def test_references_and_questions_that_cannot_be_read_are_told_theirs(write, content):
    name = "r.csv" if isinstance(content, list) else "r.json"
    asked = partial(read_questions, question=None)
    for read, needed, other in ((read_references, "answer", "image"), (asked, "image", "answer")):
        with pytest.raises(DataError) as error:
            read(write(name, content))
        assert needed in error.value.hint
        assert other not in error.value.hint


def test_the_embedded_set_that_a_missing_file_is_told_of_can_be_given(tmp_path):
    with pytest.raises(DataError, match="the data file does not exist") as error:
        read_references(tmp_path / "nothing-like-it.csv")
    assert "give `embedded`" in error.value.hint
    assert len(read_references(Path("embedded"))) > 2000
    assert read_candidates(Path("embedded"))


def test_radfm_tables_are_paired_by_question_and_truth(write):
    rows = [["Question", "Ground Truth", "Pred", "belong_to"],
            ["['<image><image0></image>Is it CT?']", "['yes']", "['Yes.']", "['x']"],
            ["['Where?']", "['left']", "['right']", "['x']"],
            ["['Is it CT?']", "['yes']", "['no']", "['x']"]]  # fmt: skip
    asked = read_references(write("r.jsonl", [
        {"id": "a", "question": "Where?", "answer": "left"}, {"id": "b", "question": "Is it CT?", "answer": "yes"},
        {"id": "c", "question": "Is it CT?", "answer": "yes"}]))  # fmt: skip
    path = write("radfm.csv", rows)
    paired = pair(asked, read_predictions(path), where=path)
    assert [(item.id, item.prediction) for item in paired] == [("a", "right"), ("b", "Yes."), ("c", "no")]
    dropped = write("short.csv", rows[:3])
    with pytest.raises(UnmatchedError, match="1 not answered: c"):
        pair(asked, read_predictions(dropped), where=dropped)


def test_ids_that_do_not_fit_are_all_named(write):
    asked = read_references(write("r.jsonl", [{"id": str(i), "answer": "x"} for i in range(40)]))
    said = [{"id": str(i), "text": "x"} for i in range(5, 40)] + [{"id": "7", "text": "y"}, {"id": "zz", "text": "x"}]
    path = write("p.jsonl", said)
    with pytest.raises(UnmatchedError) as caught:
        pair(asked, read_predictions(path), where=path)
    assert caught.value.ids == {
        "answered more than once": ["7"], "not asked": ["zz"], "not answered": ["0", "1", "2", "3", "4"],
    }  # fmt: skip
    assert caught.value.exit_code == 3
    with pytest.raises(UnmatchedError, match="zz") as caught:
        pair(asked, read_predictions(path), where=path, missing_is_wrong=True)
    assert "--missing" not in caught.value.hint  # it would not help


def test_missing_answers_may_count_as_wrong(write):
    asked = read_references(write("r.jsonl", [{"id": 1, "answer": "no"}, {"id": 2, "answer": "no"}]))
    path = write("p.csv", [["ID", "Prediction"], ["2", "no"]])
    assert [item.prediction for item in pair(asked, read_predictions(path), where=path, missing_is_wrong=True)] == [
        "",
        "no",
    ]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("r.jsonl", [{"id": "1", "answer": "x"}, {"id": "1", "answer": "y"}], "'1' is also the id of row 1"),
        ("r.jsonl", [{"id": "1", "answer": "x"}, {"id": "2"}, {"question": "x"}], "row 2: answer: is empty"),
        ("r.jsonl", [], "is empty"),
        ("r.json", "[]", "no rows"),
        ("r.json", "{}", "not a list"),
        ("r.json", "[[]]", "must be an object"),
        ("r.json", "[" * 100_000, "nested too deeply"),
        ("r.json", '{"id":', "not JSON"),
        ("r.csv", [["id", "answer"], ["1", "x", "y"]], "3 cells where the head has 2"),
    ],
)
def test_references_that_cannot_be_used(write, name, content, told):
    with pytest.raises(DataError, match=told):
        read_references(write(name, content))


def test_files_that_cannot_be_read(tmp_path, write):
    with pytest.raises(DataError, match="does not exist"):
        read_references(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'[{"id": 1, "answer": "\xe9"}]')
    with pytest.raises(DataError, match="UTF-8"):
        read_references(tmp_path / "latin.json")
    with pytest.raises(DataError, match="1 row with neither an id nor a question and its true answer: 1"):
        read_predictions(write("p.jsonl", [{"text": "x"}]))


def test_candidates_come_from_lists_or_from_open_answers(write):
    rows = [vqa("1", "left", False), vqa("2", "yes", True), vqa("3", "right", False), vqa("4", "left", False)]
    assert read_candidates(write("train.json", rows)) == ["left", "right"]
    assert read_candidates(write("c.json", {"0": ["a", 2, "a"]})) == ["a", "2"]
    assert read_candidates(write("d.json", ["b", "a"])) == ["b", "a"]
    with pytest.raises(DataError, match="no candidate"):
        read_candidates(write("closed.json", rows[1:2]))


@pytest.mark.parametrize(
    ("cell", "entry"),
    [
        ("['yes']", "yes"),
        ("['yes', 'no']", "['yes', 'no']"),
        ("['", "['"),
        ("[1]", "[1]"),
        (["yes"], "yes"),
        (3, 3),
        (["a", "b"], ["a", "b"]),
        ({}, {}),
    ],
)
def test_a_list_of_one_is_its_entry(cell, entry):
    assert only(cell) == entry


RADFM = "<image>" + "".join(f"<image{number}>" for number in range(32)) + "</image>"


def test_radfm_s_mark_may_cut_the_last_word_in_two(write):
    questions = ["Please caption this image", "Is it normal?", "Is it T1-weighted?"]
    said = [[[q[:-1] + RADFM + q[-1]], [f"true {n}"], [f"said {n}"], ["set"]] for n, q in enumerate(questions)]
    path = write("said.csv", [["Question", "Ground Truth", "Pred", "belong_to"], *said])
    rows = [{"id": str(n), "question": q, "answer": f"true {n}"} for n, q in enumerate(questions)]
    found = pair(read_references(write("true.jsonl", rows)), read_predictions(path), where=path)
    assert [item.prediction for item in found] == ["said 0", "said 1", "said 2"]


@pytest.mark.parametrize("true", ["None", "N/A", "null"])
def test_a_true_answer_that_pandas_reads_as_nothing_is_paired(write, true):
    path = write("said.csv", [["Question", "Ground Truth", "Pred"], ["['Which?']", "['nan']", "['x']"]])
    references = read_references(write("true.jsonl", [{"id": "1", "question": "Which?", "answer": true}]))
    assert pair(references, read_predictions(path), where=path)[0].prediction == "x"


@pytest.mark.parametrize(
    ("answer", "said"), [("B", "MRI"), ("MRI", "B. MRI"), ("B. MRI", "MRI"), ("B: MRI", "(b) mri."), ("B", "B")]
)
def test_an_option_counts_by_its_letter_on_either_side(write, answer, said):
    row = {"id": "1", "question": "Which?", "options": ["A: CT", "B: MRI"], "answer": answer}
    (item,) = pair(
        read_references(write("true.jsonl", [row])),
        read_predictions(said_path := write("said.jsonl", [{"id": "1", "prediction": said}])),
        where=said_path,
    )
    assert item.reference == "MRI"
    assert strict_points(item)["exact_match_all"] == 1


@pytest.mark.parametrize("said", ["A", "C", "C. MRI", "B or A", "the A: CT"])
def test_another_option_or_a_letter_with_other_words_is_wrong(said):
    item = Item("1", "Which?", "MRI", said, options=("CT", "MRI"))
    assert strict_points(item)["exact_match_all"] == 0


def test_the_true_answers_given_as_predictions_are_named(write):
    path = write("true.jsonl", [{"id": "1", "question": "Which?", "answer": "CT"}])
    copy = write("copy.jsonl", [{"id": "1", "question": "Which?", "answer": "CT"}])
    samples = write("samples.jsonl", [{"id": "1", "question": "Which?", "answer": "CT", "prediction": "MR"}])
    for references, predictions, count in ((path, path, 1), (path, copy, 1), (samples, samples, 0), (path, samples, 0)):
        heard: list[str] = []
        score_files(references, predictions, on_warning=heard.append)
        assert sum("true answers themselves" in line for line in heard) == count


def test_several_answers_are_joined_and_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "said.json"
    path.write_text(
        '[{"id": 1, "prediction": ["liver", "spleen"]}, {"id": 2, "prediction": null}, {"id": 3, "text": 4}]'
    )
    assert [one.text for one in read_predictions(path)] == ["liver, spleen", "", "4"]
    for value in ("true", '{"answer": "yes"}', '[{"type": "text", "text": "yes"}]'):
        path.write_text(f'[{{"id": 1, "prediction": "no"}}, {{"id": 2, "prediction": {value}}}]')
        with pytest.raises(DataError, match="not a text") as caught:
            read_predictions(path)
        assert caught.value.where.endswith("said.json: row 2")

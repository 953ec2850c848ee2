"""Rows as other projects and published sets write them, and files that are named for what they are."""

import base64
import io
import json

import pytest
from PIL import Image

from medmllm.data.config import DataConfig
from medmllm.data.cutting import write_subset
from medmllm.data.formats import Use, Wanted, read_data, read_file
from medmllm.data.sources import open_source
from medmllm.evaluate.references import read_references
from medmllm.evaluate.unanswered import read_questions


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".jsonl"):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def picture(path, shade=9):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), shade).save(path)


def sound(path):
    reading = read_file(path)
    assert reading.problems == []
    return reading


def says(role, text, names=("role", "content")):
    return dict(zip(names, (role, text), strict=True))


def talks(role, text):
    return says(role, text, ("from", "value"))


TALKS = {
    "messages": {"messages": [says("user", "<image>Is it?"), says("assistant", "Yes")], "images": ["a.png"]},
    "messages with the text first": {
        "messages": [says("user", "Is it?<image>"), says("assistant", "Yes")], "image": ["a.png"]
    },
    "roles in LLaVA's form": {
        "image": "a.png",
        "conversations": [talks("user", "<image>\nIs it?"), talks("assistant", "Yes")],
    },
    "Qwen-VL": {
        "conversations": [
            talks("user", "Picture 1: <img>a.png</img>\nIs it?"),
            talks("assistant", "Yes"),
        ]
    },
    "parts": {
        "messages": [
            says("user", [{"type": "image", "image": "a.png"}, {"type": "text", "text": "Is it?"}]),
            says("assistant", [{"type": "text", "text": "Yes"}]),
        ]
    },
    "one image named twice": {
        "messages": [says("user", "<image>Is it<image>?"), says("assistant", "Yes")], "images": ["a.png", "a.png"]
    },
    "query and response": {"query": "<image>Is it?", "response": "Yes", "images": ["a.png"]},
    "instruction and output": {"instruction": "Is it?", "output": "Yes", "image": "a.png"},
    "a mark inside a flat question": {"question": "<image>\nIs it?", "answer": "Yes", "image": "a.png"},
    "instruction, input and output": {"instruction": "Is", "input": "it?", "output": "Yes", "image": "a.png"},
    "RadFM's mark": {"question": "<image><image0></image>Is it?", "answer": ["Yes"], "image_path": "['a.png']"},
    "RadFM's mark as it is": {
        "question": f"Is it<image>{''.join(f'<image{n}>' for n in range(32))}</image>?",
        "answer": "Yes",
        "image": "a.png",
    },
}  # fmt: skip


@pytest.mark.parametrize("form", TALKS)
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_one_conversation_in_every_form(write, form, ending):
    (record,) = sound(write(f"a.{ending}", [TALKS[form]])).records
    asked = "Is\nit?" if "input" in form else "Is it?"
    assert (record.image, record.turns, record.kind) == ("a.png", ((asked, "Yes"),), "closed")
    assert record.id == "a-1"
    assert [item.question for item in read_references(write(f"b.{ending}", [TALKS[form]]))] == [asked]


def test_earlier_turns_and_system_prompts(write):
    history = {"query": "And now?", "response": "No", "history": [["Is it?", "Yes"]], "images": ["a.png"]}
    assert sound(write("h.json", [history])).records[0].turns == (("Is it?", "Yes"), ("And now?", "No"))
    row = {"messages": [says("system", "Be brief."), *TALKS["messages"]["messages"]], "images": ["a.png"]}
    reading = sound(write("s.json", [row, row]))
    assert [record.turns for record in reading.records] == [(("Is it?", "Yes"),)] * 2
    assert "2 rows begin with a system prompt, which is not read" in reading.warnings[0]


def test_fewer_marks_than_images_are_one_fault(write):
    row = TALKS["messages"] | {"images": ["a.png", "b.png"]}
    (problem,) = read_file(write("a.json", [row])).problems
    assert (problem.field, problem.message) == (
        "messages[0].value",
        "holds <image> 1 time, and the row names 2 images",
    )


def test_a_mark_in_an_answer_of_a_flat_row_is_a_fault_as_in_a_conversation(write):
    rows = [{"image": "a.png", "question": "Is it?", "answer": text} for text in ("yes", "<image> yes")]
    (problem,) = read_file(write("a.json", rows)).problems
    assert (problem.row, problem.check) == (2, "image-token")


def test_the_place_of_the_image_in_a_flat_question_is_kept(write):
    rows = [{"image": "a.png", "question": text, "answer": "yes"} for text in ("<image>\nIs it?", "Is it?\n<image>")]
    assert [record.image_place for record in sound(write("a.json", rows)).records] == [0, 6]


QUESTIONS = {
    "LLaVA's": [{"question_id": n, "image": "a.png", "text": f"Is it, {n}?", "category": "conv"} for n in range(3)],
    "plain": [{"image": "a.png", "question": f"Is it, {n}?"} for n in range(3)],
}


@pytest.mark.parametrize("form", QUESTIONS)
@pytest.mark.parametrize("name", ["q.jsonl", "q.json"])
def test_questions_are_answered_and_never_trained_on(write, form, name):
    path = write(name, QUESTIONS[form])
    assert [r.question for r in read_questions(path, None)[1]] == [f"Is it, {n}?" for n in range(3)]
    for use in (Use.TRAIN, Use.SCORE):
        (problem,) = read_file(path, wanted=Wanted(use)).problems
        assert problem.message == "these are questions without answers"
        assert "exgra predict" in problem.hint


def test_a_question_among_captions_is_no_caption(write):
    rows = [{"image": f"{n}.png", "caption": "A lung."} for n in range(3)]
    (problem,) = read_file(write("a.json", [*rows, QUESTIONS["LLaVA's"][0]])).problems
    assert (problem.row, problem.message) == (4, "is missing: the text is a question")


LOOKS = [
    ([{"image": "a.png", "label": 3}], "labels of a classification"),
    ([{"image": "a.png", "bbox": [1, 2]}], "boxes of objects"),
    ([{"question_id": 1, "text": "Yes", "answer_id": "x", "model_id": "m", "image": "a.png"}], "a file of answers"),
    ([{"id": 1, "prediction": "Yes"}], "a file of answers"),
    ([{"instruction": "Translate", "output": "x"}], "instructions without images"),
    ([{"question": "Q", "answer_idx": "A", "answer": "x"}], "multiple choice without images"),
]


@pytest.mark.parametrize(("rows", "like"), LOOKS)
def test_what_is_not_read_is_named_once(write, rows, like):
    (problem,) = read_file(write("a.json", rows * 5)).problems
    assert f"this looks like {like}" in problem.message
    assert problem.row is None
    assert problem.hint


def test_boxes_of_coco_are_named(write):
    (problem,) = read_file(write("a.json", {"images": [], "annotations": [{"bbox": []}], "categories": []})).problems
    assert "this looks like boxes or outlines" in problem.message


def test_a_report_is_a_caption_by_name_where_there_is_one(write):
    reading = sound(write("a.json", [{"image": "a.png", "Findings": "The lungs are clear."}]))
    assert reading.records[0].turns == (("Describe this image.", "The lungs are clear."),)
    assert "Findings is read as the caption" in reading.warnings[0]
    (problem,) = read_file(write("b.json", [{"image": "a.png", "Findings": "x", "Impression": "y"}] * 3)).problems
    assert "Findings or Impression" in problem.hint


def test_objects_one_after_another_are_json_lines_whatever_the_ending(write):
    rows = [{"image": f"{n}.png", "question": "Q", "answer": "A"} for n in range(3)]
    assert len(sound(write("a.json", "\n".join(map(json.dumps, rows)))).records) == 3


def test_pmc_vqa(write):
    head = ",Figure_path,Caption,Question,Choice A,Choice B,Choice C,Choice D,Answer,split"
    path = write("test_clean.csv", f"{head}\n0,a.jpg,A scan.,Which?, A:CT, B:MRI , C:US, D:PET,B,test\n")
    reading = sound(path)
    (record,) = reading.records
    assert (record.image, record.answer, record.options) == ("a.jpg", "MRI", ("CT", "MRI", "US", "PET"))
    assert (record.caption, record.split) == ("A scan.", "test")
    assert reading.warnings == []
    head = "Figure_path,Question,Answer,Choice A,Choice B,Choice C,Choice D,Answer_label"
    (record,) = sound(write("train.csv", f"{head}\na.jpg,Which?,E. coli,E. coli,B,C,D,A\n")).records
    assert (record.answer, record.options[0]) == ("E. coli", "E. coli")


def test_a_letter_names_the_option_of_its_column_beside_empty_ones(write):
    head = "image,question,answer,option_A,option_B,option_C,option_D\n"
    rows = ["a.png,1?,C,liver,,heart,lung", "a.png,2?,B,liver,,heart,lung", "a.png,3?,D,,A: x,heart,lung"]
    rows += ["a.png,4?,d,A: liver,,C: heart,D: lung", "a.png,5?,D: lung,A: liver,,C: heart,D: lung"]
    records = sound(write("a.csv", head + "\n".join(rows))).records
    assert [record.answer for record in records] == ["heart", "B", "lung", "lung", "lung"]
    assert records[0].options == records[4].options == ("liver", "heart", "lung")


def test_options_may_be_in_one_column(write):
    asked = {"image": "a.png", "question": "Which?", "answer": "B"}
    for options in ({"options": ["CT", "MRI"]}, {"choices": {"A": "CT", "B": "MRI"}}, {"Options": ["A. CT", "B. MRI"]}):
        reading = sound(write("a.json", [asked | options]))
        assert (reading.records[0].answer, reading.records[0].options) == ("MRI", ("CT", "MRI"))
        assert reading.warnings == []
    for options in ({"options": "CT or MRI"}, {"options": [1, 2]}, {"options": {"x": "CT"}}, {"options": []}):
        assert sound(write("a.json", [asked | options])).records[0].answer == "B"


@pytest.mark.parametrize("separator", ["|", "\t", ";", ","])
def test_a_list_with_a_head_line_is_a_table(write, separator):
    lines = [separator.join(cells) for cells in (["Image", "question", "answer"], ["a.png", "Is it?", "yes"])]
    for name in ("a.txt", "a.csv"):
        (record,) = sound(write(name, "\n".join(lines))).records
        assert (record.image, record.question, record.answer) == ("a.png", "Is it?", "yes")


def test_nan_in_json_is_an_empty_cell(write):
    row = {"id": "1", "image": "a.png", "question": "Q", "answer": "A"}
    nothing = float("nan")
    path = write("a.json", [row | {"subject": nothing, "split": nothing, "caption": nothing, "option_A": nothing}])
    (record,) = sound(path).records
    assert (record.subject, record.split, record.caption, record.options) == ("a.png", "train", "A", ())
    assert sound(write("d.json", [row | {"id": nothing}])).records[0].id == "d-1"
    for name in ("image", "question", "answer"):
        (problem,) = read_file(write("b.json", [row | {name: nothing}])).problems
        assert (problem.field, problem.message) in {(name, "is missing"), (name, "is empty")}


def test_roco(write, tmp_path):
    picture(tmp_path / "images/PMC1.jpg")
    (record,) = sound(write("radiologytraindata.csv", "id,name,caption\nROCO_1,PMC1.jpg,A chest film.\n")).records
    assert (record.id, record.image, record.caption) == ("ROCO_1", "images/PMC1.jpg", "A chest film.")
    picture(tmp_path / "images/ROCO_2.png")
    (record,) = sound(write("captions.txt", "ROCO_2\t A CT; axial.\n")).records
    assert (record.image, record.caption) == ("images/ROCO_2.png", "A CT; axial.")


def test_vqa_med(write, tmp_path):
    picture(tmp_path / "Train_images/synpic1.jpg")
    write("All_QA_Pairs_train.txt", "synpic1|what plane is it?|axial\nsynpic1|is it normal?|no\n")
    write("All_QA_Pairs_val.txt", "synpic1|modality|which?|ct\n")
    source = open_source(DataConfig(source=str(tmp_path)))
    assert {split: len(source.records(split)) for split in ("train", "validation")} == {"train": 2, "validation": 1}
    assert source.image(source.records("train")[0]).size == (8, 8)
    assert source.records("validation")[0].topic == "modality"
    path = write("VQAMed2019_Test_Questions.txt", "synpic1|which?\n")
    assert [r.question for r in read_questions(path, None)[1]] == ["which?"]


def test_vqa_med_2020_has_answers_for_testing_in_a_file_of_their_own(write):
    path = write(
        "VQAMed2020-Task1-VQAnswering-Test-ReferenceAnswers.txt", "synpic1|no\nsynpic2|zenker's diverticulum\n"
    )
    assert [item.reference for item in read_references(path)] == ["no", "zenker's diverticulum"]
    path = write(
        "VQAMed2020-Task1-VQAnswering-Test-Questions.txt", "synpic1|is this normal?\nsynpic2|what is abnormal\n"
    )
    assert [record.question for record in read_questions(path, None)[1]] == ["is this normal?", "what is abnormal"]


def test_of_several_right_answers_of_vqa_med_2019_the_first_is_read_and_counted(write):
    lines = "synpic1|abnormality|what is wrong?|esophageal spasm#diverticulum\nsynpic2|plane|is \tit l#?|number #5\n"
    reading = read_file(write("VQAMed2019_Test_Questions_w_Ref_Answers.txt", lines), wanted=Wanted(Use.SCORE))
    assert [record.answer for record in reading.records] == ["esophageal spasm", "number #5"]
    assert any("1 row has several right answers" in line for line in reading.warnings)


def test_radfm_s_tables_name_the_folder_of_each_image(write, tmp_path):
    picture(tmp_path / "deep/inside/a.png")
    for root in ("deep", str(tmp_path / "deep")):
        head = "img_root_dir,Figure_path,Question,Answer\n"
        (record,) = sound(write("radfm.csv", f'{head}{root},inside/a.png,"Left, or right?",left\n')).records
        assert (record.image, record.question, record.answer) == ("deep/inside/a.png", "Left, or right?", "left")
    (record,) = sound(write("radfm.csv", f"{head}/gone/elsewhere,deep/inside/a.png,Which?,left\n")).records
    assert record.image == "deep/inside/a.png"


def test_vqa_med_in_the_form_of_vqa(write):
    asked = [{"question_id": n, "image_id": f"synpic{n}", "question": f"Which, {n}?"} for n in range(2)]
    said = [{"question_id": n, "multiple_choice_answer": "ct", "answer_type": "other"} for n in range(2)]
    for name, content in (
        ("one.json", {"questions": asked, "annotations": said}),
        ("v2_questions.json", {"questions": asked}),
    ):
        write("v2_annotations.json", {"annotations": said})
        record = sound(write(name, content)).records[1]
        assert (record.id, record.image, record.question, record.answer) == ("1", "synpic1.jpg", "Which, 1?", "ct")
    path = write("none.json", {"questions": [{"question_id": 1, "question": "Which?", "answer": "ct"}]})
    (problem,) = read_file(path).problems
    assert "no column holds an image" in problem.message
    assert (problem.row, problem.check) == (None, "file")


def test_mimic_cxr_vqa(write):
    row = {"split": "train", "idx": 0, "image_path": "a.jpg", "subject_id": 7, "question": "Which?"}
    row |= {"semantic_type": "query", "content_type": "anatomy", "answer": ["left lung", "right lung"]}
    reading = sound(write("train.json", [row, row | {"idx": 1, "answer": []}, row | {"idx": 2, "answer": ["yes"]}]))
    assert [(r.id, r.answer, r.subject) for r in reading.records] == [
        ("0", "left lung, right lung", "7"),
        ("2", "yes", "7"),
    ]
    assert "1 row is left out: no answer (row 2" in reading.warnings[0]


def test_tables_of_biomedgpt_hold_their_images(tmp_path):
    def cell(shade):
        stream = io.BytesIO()
        Image.new("L", (8, 8), shade).save(stream, "PNG")
        return base64.urlsafe_b64encode(stream.getvalue()).decode()

    lines = [f"{n}\timg{n}\tIs it, {n}?\t1.0|!+{'yes' if n else 'left lung'}\t\t{cell(90 * n)}" for n in range(2)]
    (tmp_path / "train.tsv").write_text("\n".join(lines) + f"\n2\timg2\tA film of the chest.\tlung\t{cell(200)}\n")
    source = open_source(DataConfig(source=str(tmp_path / "train.tsv")))
    found = {r.id: r for split in ("train", "validation") for r in source.records(split)}
    assert (found["0"].question, found["0"].answer, found["1"].answer) == ("Is it, 0?", "left lung", "yes")
    assert [source.image(found[name]).getpixel((0, 0))[0] for name in "012"] == [0, 90, 200]


def test_lists_and_tables_that_hold_their_images_can_be_cut(tmp_path):
    path, cut = tmp_path / "a.txt", tmp_path / "b.json"
    path.write_text("".join(f"img{n}|Is it, {n}?|{'yes' if n % 2 else 'no'}\n" for n in range(10)))
    write_subset(path, cut, 0.5)
    rows = {record.question: record.answer for record in sound(path).records}
    kept = sound(cut).records
    assert len(kept) == 5
    assert all(rows[record.question] == record.answer for record in kept)
    streams = [io.BytesIO() for _ in range(10)]
    for shade, stream in enumerate(streams):
        Image.new("L", (8, 8), shade).save(stream, "PNG")
    cells = [base64.b64encode(stream.getvalue()).decode() for stream in streams]
    path, cut = tmp_path / "a.tsv", tmp_path / "b.tsv"
    path.write_text("\n".join(f"{n}\ti\tQ{n}?\t1.0|!+a{n}\t\t{cell}" for n, cell in enumerate(cells)))
    write_subset(path, cut, 0.5)
    kept = sound(cut)
    assert len(kept.records) == 5
    for record in kept.records:
        assert record.answer == f"a{record.id}"
        assert kept.content(record.image) == streams[int(record.id)].getvalue()


def test_the_surest_of_several_answers_of_biomedgpt_is_read(tmp_path):
    image = base64.b64encode(b"\x89PNG" + bytes(60)).decode()
    cells = ("0.3|!+no&&1.0|!+yes", "1|!+left&&0.6|!+right", "|!+lung&&|!+heart")
    lines = [f"{n}\t7\tWhich?\t{cell}\t\t{image}" for n, cell in enumerate(cells)]
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    assert [record.answer for record in sound(tmp_path / "a.tsv").records] == ["yes", "left", "lung"]


def test_trainset_and_testset_are_splits(write, tmp_path):
    row = {"image": "a.png", "question": "Q", "answer": "A"}
    for name in ("trainset", "testset"):
        write(f"{name}.json", [row])
    assert {r.path.name: r.records[0].split for r in read_data(tmp_path)} == {
        "trainset.json": "train", "testset.json": "test"
    }  # fmt: skip


def test_images_are_looked_for_in_the_usual_folder(write, tmp_path):
    for n in range(6):
        picture(tmp_path / f"images/{n}.jpg", n)
    turns = [talks("human", "<image>\nQ"), talks("gpt", "A")]
    path = write("talks.json", [{"id": n, "image": f"{n}.jpg", "conversations": turns} for n in range(6)])
    reading = sound(path)
    assert {record.image for record in reading.records} == {f"images/{n}.jpg" for n in range(6)}
    assert "the images are taken from images/" in reading.warnings[0]
    (tmp_path / "cut").mkdir()
    write_subset(path, tmp_path / "cut/some.json", 0.5)
    rows = json.loads((tmp_path / "cut/some.json").read_text())
    assert all((tmp_path / "cut" / row["image"]).resolve().is_file() for row in rows)


def test_ids_that_name_the_image_are_made_unique(write):
    rows = [{"id": "film1", "image": "1.png", "question": f"Which, {n}?", "answer": "A"} for n in range(3)]
    reading = sound(write("a.json", [*rows, {"id": "film2", "image": "2.png", "question": "Q", "answer": "A"}]))
    assert [record.id for record in reading.records] == ["film1", "film1-2", "film1-3", "film2"]
    assert "2 ids are used again for other questions" in reading.warnings[0]
    (problem,) = read_file(write("b.json", [rows[0], rows[0]])).problems
    assert "is also the id of row 1" in problem.message
    studies = [row | {"image": f"{n}.png", "subject": "p"} for n, row in enumerate(rows)]
    assert len(sound(write("c.json", studies)).records) == 3
    strangers = [row | {"image": f"{n}.png"} for n, row in enumerate(rows)]
    assert len(read_file(write("d.json", strangers)).problems) == 2

import numpy as np
import pytest

from graphalign.extras import pip_line
from medmllm.data.prepare.anatomy import read_classes, spoken
from medmllm.data.prepare.scans import draw_box, structure_masks, volume_pictures
from medmllm.data.prepare.volumes import Volume, optional, paste
from medmllm.errors import MissingExtraError


def body(role: str = "train") -> Volume:
    """A block of tissue with a liver at the person's right."""
    data = np.full((120, 100, 60), -1000.0, np.float32)
    data[10:110, 10:90] = 40
    labels = np.zeros(data.shape, np.uint8)
    labels[70:100, 30:70] = 5
    return Volume(
        subject="block",
        source="s",
        role=role,
        data=data,
        labels=labels,
        spacing=(2.0, 2.0, 2.0),
        modality="CT",
        region="abdomen",
        strides={"axial": 3},
        names={5: "liver", 6: "spleen"},
        complete=True,
        views=2,
    )


def test_questions_of_a_volume_are_true():
    pictures = list(volume_pictures(body("test")))
    asked = {(q.kind, q.about, q.answer) for picture in pictures for q in picture.questions}
    assert ("organ present", "liver", "yes") in asked
    assert ("organ present", "spleen", "no") in asked
    assert ("organ present", "liver", "no") not in asked
    assert ("marker", "", "liver") in asked
    assert {answer for kind, _, answer in asked if kind == "side"} == {"left", "right"}, "some views are flipped"


def test_side_agrees_with_the_told_orientation():
    for picture in volume_pictures(body("test")):
        sides = {q.answer for q in picture.questions if q.kind == "side"}
        told = next(fact for fact in picture.facts if fact.topic == "orientation").wordings[0]
        assert all(told.endswith(f"on the {side} of the picture.") for side in sides)


def test_split_of_slices_follows_the_role():
    assert {picture.split for picture in volume_pictures(body("test"))} == {"test"}
    assert {"train", "test_slab"} <= {picture.split for picture in volume_pictures(body("train"))}


def test_both_sides_of_a_pair_are_one_structure():
    masks = structure_masks(np.array([[2, 0, 3]], np.uint8), {2: "kidney", 3: "kidney"})
    assert masks["kidney"].tolist() == [[True, False, True]]


def test_box_is_white_on_black_and_clipped_at_the_border():
    drawn = draw_box(np.full((40, 40), 128, np.uint8), 20, 20)
    assert drawn[20, 20] == 128
    assert drawn[15, 20] == 255
    assert drawn[14, 20] == 0
    assert draw_box(np.full((40, 40), 128, np.uint8), 1, 39).shape == (40, 40)


def test_cropped_mask_lands_at_its_place():
    onto, crop = np.eye(4), np.eye(4)
    crop[:3, 3] = 1, 2, 3
    whole = paste(np.ones((2, 2, 2), np.uint8), crop, (5, 5, 6), onto)
    assert np.argwhere(whole).min(0).tolist() == [1, 2, 3]
    assert whole.sum() == 8


def test_classes_are_read_without_running_the_file(tmp_path):
    path = tmp_path / "map.py"
    path.write_text('class_map = {"total": {2: "kidney_left", 5: "liver"}}\nraise SystemExit\n')
    assert read_classes(path, "total") == {2: "kidney", 5: "liver"}
    path.write_text("")
    with pytest.raises(ValueError, match="class_map"):
        read_classes(path, "total")


def test_spoken_names_have_no_side():
    assert [spoken(name) for name in ("vertebrae_L3", "iliac_vena_left", "small_bowel")] == [
        "lumbar vertebra",
        "iliac vein",
        "small bowel",
    ]


def test_missing_reader_says_how_to_install_it():
    with pytest.raises(MissingExtraError) as caught:
        optional("no_such_reader")
    assert pip_line("prepare") in caught.value.hint

import numpy as np
import pytest
from PIL import Image

from medmllm.data.prepare.films import (
    FOLDER,
    film_label,
    find_films,
    group_split,
    larger_field,
    lung_areas,
    patient_group,
)


def test_numbers_of_one_patient_are_merged():
    assert patient_group("person12_bacteria_46.jpeg") == patient_group("person12_virus_3.jpeg")
    assert patient_group("IM-0115-0001.jpeg") == patient_group("NORMAL2-IM-0115-0001-0002.jpeg")
    assert patient_group("person115_virus_3.jpeg") != patient_group("IM-0115-0001.jpeg")
    with pytest.raises(ValueError, match="not a film"):
        patient_group("holiday.jpeg")


def test_labels_come_from_the_file_name():
    names = "person1_virus_6.jpeg", "person1_bacteria_2.jpeg", "IM-0115-0001.jpeg"
    assert [film_label(name) for name in names] == ["viral pneumonia", "bacterial pneumonia", "normal"]


def test_groups_are_split_in_the_intended_shares():
    splits = [group_split(f"film-im-{number:04d}") for number in range(2000)]
    assert splits.count("test") == pytest.approx(500, abs=60)
    assert splits.count("validation") == pytest.approx(160, abs=40)


def test_copies_are_dropped(tmp_path):
    folder = tmp_path / FOLDER / "train" / "NORMAL"
    folder.mkdir(parents=True)
    grey = np.random.default_rng(0).integers(0, 255, (224, 224), dtype=np.uint8)
    for name in ("IM-0001-0001", "IM-0002-0001"):
        Image.fromarray(grey).save(folder / f"{name}.jpeg")
    Image.fromarray(255 - grey).save(folder / "IM-0003-0001.jpeg")
    assert [film.path.stem for film in find_films(tmp_path)] == ["IM-0001-0001", "IM-0003-0001"]


def test_lung_areas_swap_under_mirroring(tmp_path):
    mask = np.zeros((224, 224), np.uint8)
    mask[50:150, 20:90] = 255
    mask[50:120, 130:190] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    left, right = lung_areas(tmp_path / "mask.png", mirrored=False)
    assert left == pytest.approx(100 * 70 / 224**2, rel=0.05)
    assert right == pytest.approx(70 * 60 / 224**2, rel=0.05)
    assert larger_field((left, right)) == "left"
    assert larger_field(lung_areas(tmp_path / "mask.png", mirrored=True)) == "right"
    assert larger_field((0.200, 0.201)) is None

"""People on two sides are reported, and the noun of a count is right."""

import json

from medmllm.data.config import DataConfig
from medmllm.data.people import NOBODY, counted, names_person, shared_people
from medmllm.data.records import Record
from medmllm.data.sources import open_source

TALK = [{"from": "human", "value": "Is it?"}, {"from": "gpt", "value": "yes"}]


def record(number, subject, image="", split="train"):
    return Record(str(number), image or f"{number}.png", (("Q", "A"),), "A", "A", subject=subject, split=split)


def save(folder, name, people):
    rows = []
    for n, person in enumerate(people):
        talk = [TALK[0], {"from": "gpt", "value": f"yes, {n}"}]
        rows.append({"id": n, "image": f"{name}-{n}.png", "subject": person, "conversations": talk})
    (folder / f"{name}.json").write_text(json.dumps(rows))
    return str(folder / f"{name}.json")


def test_an_image_or_a_volume_is_no_person():
    assert names_person(record(1, "p1"))
    assert not names_person(record(1, "1.png"))
    assert not names_person(record(1, "ct.nii.gz", "ct.nii.gz#axial=3"))
    assert counted([record(1, "1.png"), record(2, "p2")]) == "people"
    assert counted([record(1, "1.png")]) == "images"
    assert counted([]) == "people"  # rows that cannot be read say nothing


def test_each_side_that_shares_people_has_a_line():
    splits = {"train": [record(1, "a"), record(2, "b")], "validation": [record(3, "c")], "test": [record(4, "b")]}
    assert [line.partition(",")[0] for line in shared_people(splits)] == ["1 person is in both training and test"]
    assert shared_people(splits | {"test": [record(5, "d")]}) == []


def test_images_do_not_count_as_people_on_two_sides():
    same = [record(1, "1.png")]
    assert shared_people({"train": same, "validation": same, "test": same}) == []


def test_a_source_tells_of_people_in_two_of_its_files(tmp_path):
    train = save(tmp_path, "a", ["p1", "p2", "p3"])
    apart = open_source(DataConfig(source=train, validation=save(tmp_path, "b", ["p4"])))
    assert apart.warnings == ()
    found = open_source(DataConfig(source=train, validation=save(tmp_path, "c", ["p2", "p3", "p9"])))
    assert found.warnings == (
        "2 people are in both training and validation, e.g. 'p2'; `exgra data validate` lists them",
    )


def test_a_source_says_that_nobody_is_named(tmp_path):
    talks = [[TALK[0], {"from": "gpt", "value": f"yes, {n}"}] for n in range(3)]
    rows = [{"id": n, "image": f"{n}.png", "conversations": talk} for n, talk in enumerate(talks)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert open_source(DataConfig(source=str(tmp_path / "a.json"))).warnings == (NOBODY,)

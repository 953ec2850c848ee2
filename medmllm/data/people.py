"""Whether rows name the person that an image shows, and who is on two sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from graphalign.counts import count_of
from medmllm.data.records import Record

NOBODY = "no row names a person, so every image counts as one: a person's images may land on both sides of a split"


def names_person(record: Record) -> bool:
    """Whether the row says whom the image shows; else its subject is the image, or the volume that it is cut from."""
    return record.subject not in ("", *record.images, *(image.partition("#")[0] for image in record.images))


def one_person_for_shared_images(records: Sequence[Record]) -> tuple[Record, ...]:
    """The records, of which those that name nobody and share an image, or are linked by others, are of one person.

    Such a person is called after the first image.
    """
    if not any(record.further for record in records):
        return tuple(records)
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            parents[name] = name = parents[parents[name]]
        return name

    unnamed = {record.id for record in records if not names_person(record)}
    for record in records:
        if record.id in unnamed:
            for name in record.images:
                first, other = root(record.subject), root(name.partition("#")[0])
                parents[other] = first
    return tuple(replace(one, subject=root(one.subject)) if one.id in unnamed and one.image else one for one in records)


def counted(records: Iterable[Record]) -> str:
    """The noun for a count of subjects: "people", or "images" where there are rows and none names a person."""
    named = list(map(names_person, records))
    return "images" if named and not any(named) else "people"


def shared_people(splits: Mapping[str, Sequence[Record]]) -> list[str]:
    """A line for each held-out split that shows people of the training split."""
    sides = {split: {r.subject for r in splits[split] if names_person(r)} for split in ("train", "validation", "test")}
    train, validation, test = sides.values()
    both = {"validation": train & validation, "test": train & test}
    if both["validation"] and validation == test:
        del both["test"]
    where = "`exgra data validate` lists them"
    return [
        f"{count_of(len(people), 'person is', 'people are')} in both training and {split}, "
        f"e.g. {min(people)!r}; {where}"
        for split, people in both.items()
        if people
    ]

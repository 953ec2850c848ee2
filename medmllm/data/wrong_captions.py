"""Captions that are wrong on purpose: what a share of wrong pairs does to training is measured with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medmllm.data.records import Record
from medmllm.data.subset import rank, share

SALT = "exgra wrong captions"


def with_wrong_captions(records: Sequence[Record], wrong: float) -> tuple[Record, ...]:
    """Give a seeded share of the records the caption of another of them; smaller shares are parts of larger ones.

    The chosen records pass their captions on in a seeded order, so the texts stay the same ones. A caption may come
    from a record of the same image, or read the same as the one that it replaces, as in data whose texts repeat.

    Example:
        >>> rows = [Record(str(n), f"{n}.png", (("Q", "A"),), "A", f"caption {n}") for n in range(8)]
        >>> found = with_wrong_captions(rows, 0.5)
        >>> sum(new.caption != old.caption for new, old in zip(found, rows)), {r.caption for r in found} == {
        ...     r.caption for r in rows}
        (4, True)
    """
    captioned = [record for record in records if not record.caption_missing]
    if wrong == 0 or len(captioned) < 2:
        return tuple(records)
    chosen = share(captioned, wrong, salt=SALT, key=lambda record: record.id)
    order = sorted(chosen, key=lambda record: rank(f"{SALT}, order", record.id))
    given = {record.id: other.caption for record, other in zip(order, order[1:] + order[:1], strict=True)}
    return tuple(replace(r, caption=given[r.id]) if r.id in given else r for r in records)

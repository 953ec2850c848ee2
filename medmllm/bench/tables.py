"""The document of a measured step as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphalign.counts import count_of

Measured = Mapping[str, Any]
PADDED = ("plain_padded", "three_passes")
HEAD = ("variant", "step s", "cpu s", "samples/s", "tokens", "MFU %", "align %", "GiB")


def ratios(rows: Sequence[Measured], key: str) -> dict[str, float]:
    """The time of every variant, over that of the padded plain step and of the three passes, where these were measured.

    Args:
        rows: the variants' figures.
        key: `total` on a processor, as batches differ in what is padding, and `seconds`, medians, on a GPU, where the
            first step of any shape takes its memory.
    """
    spent = {row["variant"]: row[key] for row in rows}
    bases = [base for base in PADDED if base in spent]
    return {f"{name} / {base}": spent[name] / spent[base] for base in bases for name in spent if name != base}


def rows(document: Measured) -> list[tuple[str, ...]]:
    """A line of figures for each variant, below `HEAD`."""
    return [_line(row) for row in document["rows"]]


def _line(row: Measured) -> tuple[str, ...]:
    memory = "" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}"
    shares = f"{100 * row['mfu']:.0f}", f"{100 * row['align_share']:.1f}"
    times = f"{row['seconds']:.3g}", f"{row['process_seconds']:.3g}", f"{row['samples_per_second']:.3g}"
    return row["variant"], *times, str(row["tokens"]), *shares, memory


def about(document: Measured) -> str:
    """The measurement, its machine and its versions, in sentences."""
    setup = document["setup"]
    ways = {"checkpointing": "activations recomputed", "compile": "layers compiled"}
    how = ", ".join([count_of(setup["batch"], "sample"), *(text for key, text in ways.items() if setup[key])])
    return (
        f"Size {setup['size']}, {document['parameters']:,} parameters, {document['dtype']}, {how}; median of "
        f"{count_of(setup['steps'], 'step')}. {document['device']}, torch {document['torch']}. MFU is of "
        f"{document['peak_flops'] / 1e12:.3g} TFLOP/s, and a large product reaches "
        f"{document['product_flops'] / 1e12:.3g}. Before the first step the packed loss differed from the padded "
        f"one by {document['packed_from_padded']:.1g} of it."
    )


def markdown(document: Measured) -> str:
    """The table, the ratios and what they are of, as Markdown."""
    return "\n\n".join([about(document), _table(HEAD, rows(document)), *_ratios(document)])


def placement(document: Measured) -> str:
    """Where solvers run, as Markdown; a row for each solver, two columns for each size."""
    found = {(row["solver"], row["samples"]): row for row in document["rows"]}
    sizes = sorted({samples for _, samples in found})
    head = ("solver", *(f"{text}, {n} samples" for n in sizes for text in ("alignment ms", "of that solver")))
    body = [(name, *_times(found[name, n] for n in sizes)) for name in dict.fromkeys(name for name, _ in found)]
    return f"{document['device']}, torch {document['torch']}, width {document['width']}.\n\n{_table(head, body)}"


def _times(rows: Iterator[Measured]) -> Iterator[str]:
    return (f"{1e3 * row[key]:.1f}" for row in rows for key in ("seconds", "solver_seconds"))


def _ratios(document: Measured) -> Iterator[str]:
    """Times over those of the two padded steps, for documents that have these."""
    names, found = [row["variant"] for row in document["rows"]], document["ratios"]
    bases = [base for base in PADDED if base in names]
    if bases:
        body = [(name, *(f"{found.get(f'{name} / {base}', 1):.2f}" for base in bases)) for name in names]
        yield _table(("time over", *bases), body)


def _table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    lines = [head, ("---", *("--:" for _ in head[1:])), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

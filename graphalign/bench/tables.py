"""The document of a benchmark as tables, for a terminal, for Markdown, and for the page of the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Measured = Mapping[str, Any]


class Table(NamedTuple):
    """One table; the note says what was compared with what."""

    title: str
    head: tuple[str, ...]
    body: Sequence[tuple[str, ...]]
    note: str = ""


def tables(document: Measured) -> list[Table]:
    """Every table of a document, in the order of its parts."""
    parts: dict[str, list[Measured]] = {}
    for row in document["rows"]:
        parts.setdefault(row["part"], []).append(row)
    return [table for part, rows in parts.items() for table in MAKERS[part](rows)]


def markdown(document: Measured) -> str:
    """A document as Markdown: the machine, then a heading and a table for every part."""
    lines = [about(document)]
    for table in tables(document):
        cells = [table.head, ("---", *("--:" for _ in table.head[1:])), *table.body]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells)
        lines += [f"### {table.title}", text, *([table.note] if table.note else [])]
    return "\n\n".join(lines) + "\n"


def about(document: Measured) -> str:
    """One paragraph: when, where and with what."""
    machine, quick = document["machine"], " Quick run: its figures say nothing." if document["quick"] else ""
    used = ", ".join(f"{name} {number}" for name, number in document["versions"].items() if number)
    return (
        f"Measured on {document['date']}, seed {document['seed']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gb']:g} GB, {machine['threads']} thread. Python {machine['python']}, {used}.{quick}"
    )


# --- parts ----------------------------------------------------------------------------------------------------------


def linear(rows: Sequence[Measured]) -> list[Table]:
    merged = [{**row, "contender": row["contender"].split()[0]} for row in rows]
    exact = [row for row in merged if row.get("objective_share", 0) > 1 - 1e-5]
    others = sorted({row["contender"] for row in merged if row not in exact and "absent" not in row})
    note = f"lapx: the faster of lapjvr and lapjvh. All but {' and '.join(others) or 'none'} reached one objective."
    return [
        pivot("Linear assignment, ms", merged, "ms", milliseconds, note),
        ratios("Linear assignment, time beside `lap`", merged, "lap"),
    ]


def sinkhorn(rows: Sequence[Measured]) -> list[Table]:
    part = rows[0]["part"].removeprefix("sinkhorn ")
    what = "forward" if part == "forward" else "forward and backward"
    note = "" if part == "forward" else "`implicit` is the gradient at convergence, the others that of the rounds made."
    return [
        pivot(f"Sinkhorn {what}, ms", rows, "ms", milliseconds, note),
        ratios(f"Sinkhorn {what}, time beside `implicit`", rows, "implicit"),
    ]


def memory(rows: Sequence[Measured]) -> list[Table]:
    note = "What one forward and backward pass takes beyond its inputs, in a process of its own."
    return [pivot("Sinkhorn, peak memory, MB", rows, "mb", lambda x: f"{x:.0f}", note)]


def quadratic(rows: Sequence[Measured]) -> list[Table]:
    note = (
        "Mean over problems. pygmtools needs the dense affinity, built in the time beside it; POT cannot take scores "
        "of edge pairs and gets the two adjacency matrices. Edge scores are cosines of the edges' directions, or of "
        "their lengths, which is what is left where the two spaces share no axes (`lengths`)."
    )
    own = [row for row in rows if row["contender"] != "(dense affinity)"]
    best = "Share of the best objective that any of them found; soft results are rounded by `lap`."
    return [
        pivot("Graph matching, ms", rows, "ms", milliseconds, note),
        ratios("Graph matching, time beside `faq`", own, "faq"),
        pivot("Graph matching, objective", own, "objective_share", lambda x: f"{x:.3f}", best),
    ]


def large(rows: Sequence[Measured]) -> list[Table]:
    body = [(row["case"], milliseconds(row["ms"]), amount(row["mb"]), amount(row["dense_affinity_mb"])) for row in rows]
    head = ("case", "ms", "peak MB", "MB of the dense affinity alone")
    return [Table("Graph matching, `faq` on large graphs", head, body)]


def growth(rows: Sequence[Measured]) -> list[Table]:
    kind = rows[0]["part"].removeprefix("growth ")
    title = "the solver alone" if kind == "solver" else "one step of the alignment loss, three views"
    names = unique(row["contender"] for row in rows)
    body = [grown(name, [row for row in rows if row["contender"] == name]) for name in names]
    note = "Time is about nodes to the power of the exponent, by least squares over the sizes named."
    return [Table(f"Growth of {title}", ("solver", "exponent", "fitted on", "ms there", "stopped by"), body, note)]


def grown(name: str, rows: Sequence[Measured]) -> tuple[str, ...]:
    fit = next(row for row in rows if row["case"] == "exponent")
    if fit["exponent"] is None:
        return name, "-", "-", "-", fit["stopped"]
    times = {row["case"]: row["ms"] for row in rows if "ms" in row}
    ends = [milliseconds(times[f"{fit[end]} nodes"]) for end in ("from", "to")]
    return name, f"{fit['exponent']:.1f}", f"{fit['from']} to {fit['to']}", " to ".join(ends), fit["stopped"]


def gradients(rows: Sequence[Measured]) -> list[Table]:
    head = ("estimator", "bias", "std", "cosine", "solves", "ms")
    note = (
        "Beside the exact gradient, in units of its norm; cosine: mean over draws. The exact value depends on the "
        "family of the estimator."
    )
    return [
        Table(f"Gradients, {case}", head, [quality_cells(row) for row in rows if row["case"] == case], note)
        for case in unique(row["case"] for row in rows)
    ]


def quality_cells(row: Measured) -> tuple[str, ...]:
    if "absent" in row:
        return row["contender"], "-", "-", "-", "-", "-"
    figures = (f"{row[key]:.3f}" for key in ("bias", "std", "cosine"))
    return row["contender"], *figures, str(row["solves"]), milliseconds(row["ms"])


def learning(rows: Sequence[Measured]) -> list[Table]:
    head = ("trained with", "after 60 steps", "after 300", "accuracy told", "agreement", "centres", "ms a step")
    note = (
        "Share of 64 unseen samples that `lap` matches: mean over seeds, and the lowest and the highest of them. "
        "The rest after 300 steps: the accuracy that the loss tells of them (of a relaxed matching its mass), the "
        "cosine of two draws of the first step's gradient, and the cosine of the two views' centres."
    )
    return [
        Table(f"Learning, {nodes} nodes", head, learnt([row for row in rows if row["nodes"] == nodes]), note)
        for nodes in dict.fromkeys(row["nodes"] for row in rows)
    ]


def learnt(rows: Sequence[Measured]) -> list[tuple[str, ...]]:
    """A line for each contender: its share at every number of steps, and the rest at the last."""
    lines = []
    for name in unique(row["contender"] for row in rows):
        own = sorted((row for row in rows if row["contender"] == name), key=lambda row: row["steps"])
        rest = (f"{own[-1][key]:.2f}" if key in own[-1] else "-" for key in ("accuracy", "agreement", "centres"))
        lines.append((name, *(share(row["matched"]) for row in own), *rest, milliseconds(own[-1]["ms"])))
    return lines


def share(seeds: Sequence[float]) -> str:
    """The mean over seeds, with the lowest and the highest where they differ."""
    least, mean, most = (f"{x:.2f}" for x in (min(seeds), sum(seeds) / len(seeds), max(seeds)))
    return mean if least == most else f"{mean} ({least} to {most})"


MAKERS: dict[str, Callable[[Sequence[Measured]], list[Table]]] = {
    "linear": linear,
    "sinkhorn forward": sinkhorn,
    "sinkhorn gradient": sinkhorn,
    "sinkhorn memory": memory,
    "quadratic": quadratic,
    "quadratic large": large,
    "growth solver": growth,
    "growth step": growth,
    "gradients": gradients,
    "learning": learning,
}


# --- forms ----------------------------------------------------------------------------------------------------------


def pivot(title: str, rows: Sequence[Measured], key: str, form: Callable[[float], str], note: str = "") -> Table:
    """A line for each case and a column for each contender; of two rows for one cell the smaller counts."""
    cases, names = unique(row["case"] for row in rows), unique(row["contender"] for row in rows)
    held = cells(rows, key)
    body = [(case, *(form(held[case, name]) if (case, name) in held else "-" for name in names)) for case in cases]
    return Table(title, ("case", *names), body, with_absent(note, rows))


def ratios(title: str, rows: Sequence[Measured], ours: str) -> Table:
    """How many times as long the others take; below one they are faster."""
    cases = unique(row["case"] for row in rows)
    names = [name for name in unique(row["contender"] for row in rows) if name != ours]
    held = cells(rows, "ms")

    def ratio(case: str, name: str) -> str:
        if (case, name) not in held or (case, ours) not in held:
            return "-"
        return f"{float(f'{held[case, name] / held[case, ours]:.2g}'):g}x"

    return Table(title, ("case", *names), [(case, *(ratio(case, name) for name in names)) for case in cases])


def cells(rows: Sequence[Measured], key: str) -> dict[tuple[str, str], float]:
    held: dict[tuple[str, str], float] = {}
    for row in rows:
        if row.get(key) is not None:
            place = row["case"], row["contender"]
            held[place] = min(held.get(place, row[key]), row[key])
    return held


def with_absent(note: str, rows: Iterable[Measured]) -> str:
    """The note, and who is absent and why."""
    reasons = unique(row["absent"] for row in rows if "absent" in row)
    return " ".join([*([note] if note else []), *(f"Absent: {reason}." for reason in reasons)])


def milliseconds(value: float) -> str:
    """At most three significant digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def amount(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def unique(values: Iterable[str]) -> Sequence[str]:
    """Each value once, in the order of the first."""
    return list(dict.fromkeys(values))

"""Figures of an evaluation as tables that fit a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from exgra.screen import put, put_table
from graphalign.counts import count_of

NAMES = {
    "average": "average",
    "open_recall": "recall, open",
    "closed_accuracy": "accuracy, closed",
    "f1": "F1, open",
    "precision": "precision, open",
    "exact_match": "exact match, open",
    "exact_match_all": "exact match, all",
    "open_accuracy": "accuracy, open",
    "bleu1": "BLEU-1, open",
    "bleu4": "BLEU-4, open",
}
LEAST = 0.0001


def put_figures(told: Mapping[str, Any]) -> None:
    """Both columns with intervals, then the same two averages by kind and modality."""
    put_columns(told)
    for title, parts in (("kind", told["by_kind"]), ("modality", told["by_modality"])):
        if len(parts) > 1:
            put()
            put_table([title, "questions", "published", "strict"], [part(name, one) for name, one in parts.items()])


def put_columns(told: Mapping[str, Any]) -> None:
    """Published and strict figures side by side."""
    rows = [(label, *(cell(told, column, name) for column in ("published", "strict"))) for name, label in NAMES.items()]
    put_table(["percent", "published", "strict"], [row for row in rows if row[1:] != ("-", "-")])
    counts, refused = told["strict"], told["refusals"]
    without = f"; {refused['refused']} of the texts give no answer ({refused['empty']} empty) and count as wrong"
    put(f"\n{counted(counts)}{without if refused['refused'] else ''}")


def counted(told: Mapping[str, Any]) -> str:
    """How many questions of each half were scored."""
    return f"{told['n_open']} open and {count_of(told['n_closed'], 'closed question')}"


def cell(told: Mapping[str, Any], column: str, name: str) -> str:
    value, ends = told[column].get(name), told["intervals"][column].get(name)
    if value is None:
        return "-"
    return f"{value:.1f}" + (f" [{ends[0]:.1f}, {ends[1]:.1f}]" if ends else "")


def part(name: str, told: Mapping[str, Any]) -> Sequence[object]:
    """A row of a kind: its average, or the half that it has."""
    counts = told["strict"]
    key = "average" if counts["average"] is not None else "closed_accuracy" if counts["n_closed"] else "open_recall"
    return name, counts["n_open"] + counts["n_closed"], cell(told, "published", key), cell(told, "strict", key)


def put_comparison(told: Mapping[str, Any]) -> None:
    """Differences of two systems with their intervals."""
    rows = []
    for column, metrics in told.items():
        rows += [(f"{column} {NAMES[name]}", *difference(one)) for name, one in metrics.items() if one]
    put("\ndifference to the baseline, percentage points")
    put_table(["metric", "difference", "p", "p, Holm", "visible"], rows)
    put_few(one for metrics in told.values() for one in metrics.values())


def put_systems(told: Mapping[str, Any]) -> None:
    """A row for each system, then how each differs from the first."""
    names = [name for name in ("average", "open_recall", "closed_accuracy", "exact_match_all") if _known(told, name)]
    reports, first = told["systems"], told["first"]
    rows = [(name, cell(one, "published", names[0]), *(cell(one, "strict", key) for key in names))
            for name, one in reports.items()]  # fmt: skip
    put_table(["percent", f"published {NAMES[names[0]]}", *(f"strict {NAMES[key]}" for key in names)], rows)
    counts = reports[first]["strict"]
    put(f"\n{counted(counts)}")
    rows = [(f"{first} - {name}", NAMES[key], *difference(one)) for name, found in told["comparisons"].items()
            for key in names if (one := found["strict"][key])]  # fmt: skip
    put("\ndifferences, strict, percentage points; Holm's p allows for the number of systems")
    put_table(["systems", "metric", "difference", "p", "p, Holm", "visible"], rows)
    put_few(found["strict"][key] for found in told["comparisons"].values() for key in names)


def _known(told: Mapping[str, Any], name: str) -> bool:
    return told["systems"][told["first"]]["strict"][name] is not None


def difference(one: Mapping[str, Any]) -> Sequence[str]:
    if one["equal"]:
        return "equal scores", "-", "-", "-"
    value = f"{one['difference']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]"
    if one["few"]:
        return value, f"only {one['examples']}", "-", "-"
    return value, chance(one["p"]), chance(one["p_holm"]), f"{one['visible']:.1f}" if one["visible"] <= 100 else "> 100"


def put_few(comparisons: Iterable[Mapping[str, Any] | None]) -> None:
    """Say what "only 5" in place of a p means, where it stands."""
    if any(one and one["few"] and not one["equal"] for one in comparisons):
        put("only N: p and interval say nothing with fewer than 6 people (or images); ask about more")


def chance(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.4f}" if p >= LEAST else f"< {LEAST}"


def put_reliance(told: Mapping[str, Any]) -> None:
    """Exact answers with the real images, and what each change takes away."""
    name = "exact_match_all"
    rows: list[Sequence[object]] = [("real", cell(told["real"], "strict", name), "", "", "")]
    for how, changed in told["changed"].items():
        lost, p = difference(changed["comparison"]["strict"][name])[:2]
        rows.append((how, cell(changed, "strict", name), lost, p, f"{changed['unchanged']:.1f} %"))
    for one in told.get("each_image", ()):
        lost, p = difference(one["comparison"]["strict"][name])[:2]
        what = f"image {one['number']} blank, {count_of(one['n'], 'question')}"
        rows.append((what, cell(one, "strict", name), lost, p, f"{one['unchanged']:.1f} %"))
    put_table(["image", "exact answers, %", "the real image gains", "p", "same answers"], rows)
    each = (*told["changed"].values(), *told.get("each_image", ()))
    put_few(one["comparison"]["strict"][name] for one in each)
    put(f"\n{count_of(told['n'], 'question')}; a model that uses the image scores lower after each change")
    if told.get("each_image"):
        put("an image that can be blanked without changing an answer is not used")


def put_choices(told: Mapping[str, Any]) -> None:
    """Accuracies of the four rules, of each set, their mean, and of all questions."""
    rules = ("likelihood", "likelihood_per_token", "difflib", "named")
    rows = [(name, part["n"], f"{part['chance']:.1f}", *(f"{part[rule]:.1f}" for rule in rules))
            for name, part in (*told["by_set"].items(), ("all", told))]  # fmt: skip
    rows.append(("mean of sets", "", "", *(f"{told['mean_of_sets'][rule]:.1f}" for rule in rules)))
    put_table(["set", "questions", "chance", "likelihood", "per token", "difflib", "named"], rows)
    for rule in rules:
        put(f"{rule}: {cell({'x': told, 'intervals': {'x': told['intervals']}}, 'x', rule)}")


def put_grades(told: Mapping[str, Any]) -> None:
    """The judge's figures, over all pairs and for each kind of question."""
    if told["n"]:
        parts = (*told["by_kind"].items(), ("all", told)) if len(told["by_kind"]) > 1 else (("all", told),)
        head = ["questions", "n", "relative, %", "own", "other", "won", "even", "lost"]
        put_table(head, [grades(name, one) for name, one in parts])
        place, turned = told["first_place"], told["inconsistent"]
        put(f"\nbeing read first is worth {place:+.2f} grades; {turned:.1f} % of winners change with the order")
    if told["failed"]:
        put(f"not graded and not counted: {count_of(len(told['failed']), 'pair')}; the same command tries them again")


def grades(name: str, one: Mapping[str, Any]) -> Sequence[object]:
    ends = one["interval"]
    relative = f"{one['relative']:.1f}" + (f" [{ends[0]:.1f}, {ends[1]:.1f}]" if ends else "")
    return (
        name or "-",
        one["n"],
        relative,
        f"{one['own']:.2f}",
        f"{one['other']:.2f}",
        one["wins"],
        one["ties"],
        one["losses"],
    )

"""The ranking as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable

from graphalign.counts import count_of
from medmllm.ablate.grid import point_in_words
from medmllm.ablate.results import EQUAL, Arm, Results
from medmllm.text.escaping import csv_cell, latex_cell, markdown_cell

HEAD = ("exact answers %", "seeds", "difference", "95 % interval", "p (Holm)", "visible", "matching %", "ms/step")

CONTROL = (
    "The control is missing: aligned runs read captions that plain runs never see. A point of align.weight=0 and "
    "train.caption_weight=1 tells the text from the graph, as “captions” does in exgra ablate controls."
)


def header(results: Results) -> list[str]:
    """Names of the columns."""
    return ["#", *results.axes, *HEAD]


def ranking(results: Results) -> list[list[str]]:
    """Rows of the table, the best point first; a point without runs says why in the place of its figures."""
    return [[str(rank), *arm.point.values(), *_figures(arm, results)] for rank, arm in enumerate(results.arms, 1)]


def as_csv(results: Results) -> str:
    """One line for each run: its point, seed, status and accuracy."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*map(csv_cell, results.axes), "seed", "status", "accuracy", "run", "error"])
    for run in results.runs:
        accuracy = "" if run.accuracy is None else repr(run.accuracy)
        line = [*run.point.values(), run.seed, run.status, accuracy, run.key, run.error]
        writer.writerow(map(csv_cell, line))
    return text.getvalue()


def as_markdown(results: Results) -> str:
    """The report in words and a table."""
    head = ["#", *map(markdown_cell, header(results)[1:])]
    rows = [head, ["---"] * len(head), *([markdown_cell(cell) for cell in row] for row in ranking(results))]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    lines = [
        f"# {markdown_cell(results.name)}",
        "",
        markdown_cell(sweep_summary(results)),
        "",
        *_paragraphs(map(markdown_cell, remarks(results))),
        table,
        "",
        markdown_cell(note(results)),
        "",
    ]
    failed = [
        f"- {markdown_cell(point_in_words(run.point))}, seed {run.seed}: {markdown_cell(run.error)}"
        for run in results.failures
    ]
    return "\n".join([*lines, *(["## Failed", "", *failed, ""] if failed else [])])


def as_latex(results: Results) -> str:
    """The table for a paper; it needs the package booktabs."""
    head = header(results)
    body = [" & ".join(latex_cell(cell) for cell in row) + r" \\" for row in ranking(results)]
    columns = "r" + "l" * len(results.axes) + "r" * len(HEAD)
    start = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(map(latex_cell, head)) + r" \\", r"\midrule"]
    return "\n".join([*start, *body, r"\bottomrule", r"\end{tabular}", ""])


def sweep_summary(results: Results) -> str:
    """The comparison and its outcome, in two sentences."""
    done = sum(run.status == "done" for run in results.runs)
    sure = [arm.label for arm in results.arms if arm.sure]
    found = f"Clearly different: {'; '.join(sure)}." if sure else "No point differs clearly."
    runs = count_of(len(results.runs), "run")
    return f"Done: {done} of {runs}. Each point is compared with {results.reference}. {found}"


def remarks(results: Results) -> list[str]:
    """Sentences that belong above the table: what guessing would reach, and which control is missing."""
    return [text for text in (guessing(results), CONTROL if results.grid.lacks_control else "") if text]


def guessing(results: Results) -> str:
    """Score of the most frequent training answers, and which points lie below; "" where it is not known."""
    known = [arm for arm in results.arms if arm.guessing is not None]
    if not known:
        return ""
    shares = sorted({f"{100 * (arm.guessing or 0):.1f}" for arm in known}, key=float)
    reach = " to ".join(dict.fromkeys((shares[0], shares[-1])))
    below = [arm.label for arm in known if (arm.mean or 0) < (arm.guessing or 0)]
    above = any((arm.mean or 0) > (arm.guessing or 0) for arm in known)
    found = "No point is below that." if above else "No point is above that."
    found = f"Below that: {'; '.join(below)}.{'' if above else ' No point is above it.'}" if below else found
    return f"Guessing, the most frequent training answer to each question, is right in {reach} %. {found}"


def note(results: Results) -> str:
    """How to read the table."""
    people = results.unit == "person"
    drawn = "people, each with all questions about them" if people else "questions, the people being taken as given"
    of = f" from {results.source}" if results.source else ""
    counts = f"{count_of(results.questions, 'question')}{of} about {count_of(results.people, 'person', 'people')}"
    told = [
        f"Exact answers to {counts}, split {results.grid.split}; mean and standard deviation over seeds. Differences "
        f"are in points, with 95 % intervals from a paired bootstrap over seeds and {drawn}; p is raised for the "
        f"number of comparisons by Holm's rule. A true difference below “visible” would be missed more than one time "
        f"in five. Times are those of the sweep, in which runs may have shared the machine.",
        *too_few(results.arms),
    ]
    return " ".join(told)


def too_few(arms: Iterable[Arm]) -> list[str]:
    """The sentence about what so few people or seeds cannot say, if there is anything."""
    found = [arm.comparison for arm in arms if arm.comparison is not None]
    if few := [one for one in found if one.few]:
        asked = [
            count_of(one.people, "person", "people") if one.people else count_of(one.examples, "question")
            for one in few
        ]
        return [f"Intervals and p say nothing of {min(asked)}: 6 are needed for a p below 0.05. Ask about more."]
    capped = [one for one in found if one.capped]
    if not capped:
        return []
    seeds = count_of(min(one.seeds for one in capped), "seed")
    return [f"An interval that ends at ±100 has no real end: {seeds} cannot say how much seeds differ. Run more."]


def _paragraphs(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in (text, "")]


def _figures(arm: Arm, results: Results) -> list[str]:
    compared = arm.comparison
    if arm.mean is None:
        return [arm.reason or "not run", *[""] * (len(HEAD) - 1)]
    spread = "" if arm.spread is None else f" ± {100 * arm.spread:.1f}"
    mean = f"{100 * arm.mean:.1f}{spread}"
    rest = [_one(arm.matching, lambda x: f"{100 * x:.1f}"), _one(arm.ms_per_step, lambda x: f"{x:.0f}")]
    if compared is None or arm.p_holm is None:
        own = "reference" if results.is_reference(arm) else ""
        return [mean, str(len(arm.seeds)), own, "", "", "", *rest]
    if compared.equal:
        return [mean, str(len(arm.seeds)), EQUAL, "", "", "", *rest]
    interval = f"{signed(compared.low)} to {signed(compared.high)}"
    p = f"{arm.p_holm:.3f}" if arm.p_holm >= 0.001 else "< 0.001"
    visible = f"{100 * compared.visible:.1f}" if compared.visible <= 1 else "> 100"
    return [mean, str(len(arm.seeds)), signed(compared.difference), interval, p, visible, *rest]


def signed(share: float) -> str:
    """A difference in points with its sign; nothing is nothing, without one."""
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _one(value: float | None, text: Callable[[float], str]) -> str:
    return "" if value is None else text(value)

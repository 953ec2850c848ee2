"""The ranking as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from medmllm.ablate.results import Arm, Results

HEAD = ("exact answers %", "seeds", "difference", "95 % interval", "p (Holm)", "visible", "matching %", "ms/step")


def ranking(results: Results) -> list[list[str]]:
    """Rows of the table, the best point first; a point without runs says why in the place of its figures."""
    return [[str(rank), *arm.point.values(), *_figures(arm, results)] for rank, arm in enumerate(results.arms, 1)]


def as_csv(results: Results) -> str:
    """One line for each run: its point, seed, status and accuracy."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*results.reference, "seed", "status", "accuracy", "run", "error"])
    for run in results.outcomes:
        accuracy = "" if run.accuracy is None else repr(run.accuracy)
        writer.writerow([*run.point.values(), run.seed, run.status, accuracy, run.key, run.error])
    return text.getvalue()


def as_markdown(results: Results) -> str:
    """The report in words and a table."""
    head = ["#", *results.reference, *HEAD]
    rows = [head, ["---"] * len(head), *([_escape(cell) for cell in row] for row in ranking(results))]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    lines = [f"# {results.name}", "", summary(results), "", table, "", NOTE.format(examples=results.examples), ""]
    failed = [f"- {' · '.join(run.point.values())}, seed {run.seed}: {run.error}" for run in results.failures]
    return "\n".join([*lines, *(["## Failed", "", *failed, ""] if failed else [])])


def as_latex(results: Results) -> str:
    """The table for a paper; it needs the package booktabs."""
    head = ["#", *results.reference, *HEAD]
    body = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in ranking(results)]
    columns = "r" + "l" * len(results.reference) + "r" * len(HEAD)
    start = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(map(_latex, head)) + r" \\", r"\midrule"]
    return "\n".join([*start, *body, r"\bottomrule", r"\end{tabular}", ""])


def summary(results: Results) -> str:
    """What was compared and what came of it, in two sentences."""
    done = sum(run.status == "done" for run in results.outcomes)
    reference = " · ".join(results.reference.values())
    sure = [arm.label for arm in results.arms if arm.verdict in ("better", "worse")]
    found = f"Different from it for sure: {'; '.join(sure)}." if sure else "No point differs from it for sure."
    return f"{done} of {len(results.outcomes)} runs are done. The reference is {reference}. {found}"


NOTE = """Exact answers on {examples} test questions, mean and standard deviation over seeds. Differences are in points,
from a paired bootstrap over seeds and questions; p is raised for the number of comparisons by Holm's rule. A
difference below `visible` would be missed more often than one time in five. Times are those of the sweep, in
which runs may have shared the machine."""


def _figures(arm: Arm, results: Results) -> list[str]:
    compared = arm.comparison
    if arm.mean is None:
        return [arm.reason or "not run", *[""] * (len(HEAD) - 1)]
    spread = "" if arm.spread is None else f" ± {100 * arm.spread:.1f}"
    mean = f"{100 * arm.mean:.1f}{spread}"
    rest = [_one(arm.matching, lambda x: f"{100 * x:.1f}"), _one(arm.ms_per_step, lambda x: f"{x:.0f}")]
    if compared is None or arm.p_holm is None:
        own = "reference" if arm.point == results.reference else ""
        return [mean, str(len(arm.seeds)), own, "", "", "", *rest]
    interval = f"{100 * compared.low:+.1f} to {100 * compared.high:+.1f}"
    p = f"{arm.p_holm:.3f}" if arm.p_holm >= 0.001 else "< 0.001"
    visible = f"{100 * compared.visible:.1f}"
    return [mean, str(len(arm.seeds)), f"{100 * compared.difference:+.1f}", interval, p, visible, *rest]


def _one(value: float | None, text: Callable[[float], str]) -> str:
    return "" if value is None else text(value)


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def _latex(cell: str) -> str:
    plain = cell.translate({ord(sign): f"\\{sign}" for sign in "%_&#{}$"})
    return plain.replace("±", r"$\pm$").replace("<", "$<$").replace("·", r"$\cdot$")

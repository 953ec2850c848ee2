"""A run's results in about ten lines of plain words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exgra.failure import with_command
from exgra.screen import duration, hanging, percent
from graphalign.counts import count_of
from medmllm.errors import command_line
from medmllm.evaluate.measurable import WHY_NOT, measurable

GROUPS = {"patients": "chest films", "subjects": "CT and MR slices"}
MANY = 30  # people or images before an interval over them is taken at its word
ENOUGH = 10  # questions of a kind before it is called best or worst
SPLITS = {"validation": "held-out questions", "test": "people never seen", "test_slab": "unseen slices, seen people"}


def story_lines(summary: Mapping[str, Any], out: Path) -> list[str]:
    """The summary of a finished run (`summary.json`) as text, 80 columns wide."""
    made = f"{count_of(summary['steps'], 'step')}, seed {summary['seed']}, {duration(summary['seconds'])}"
    head = f"what the run learned ({made})"
    first, *others = [split for split in SPLITS if split in summary]
    lines = [head, *scores_lines(first, summary[first])]
    lines += [score_line(split, SPLITS[split], summary[split]) for split in others]
    lines = [hanging(line, indent=12) for line in [*lines, *matching_lines(summary), *left_out_lines(summary)]]
    other = "test_slab" if "test_slab" in summary else "validation"
    again = with_command(command_line("eval", out, "--split", other))
    return [*lines, f"  written   {out}", f"  next      {again}", *compare_lines(summary, out)]


def left_out_lines(summary: Mapping[str, Any]) -> list[str]:
    """Rows that were not used, as they or their images could not be read."""
    lost = summary.get("left_out", {}).items()
    told = ", ".join(f"{count} {split.replace('train', 'training')}" for split, count in lost)
    return [f"  left out  {told} rows; data.json names them and says why"] if told else []


def compare_lines(summary: Mapping[str, Any], out: Path) -> list[str]:
    """How the same is trained without alignment: the run's folder is the configuration."""
    if not summary["align"]["weight"]:
        return []
    lines = [f"            {with_command(command_line('train', out, 'align.weight=0'))}"]
    lines.append("            (the same, without alignment)")
    if not summary.get("caption_weight"):
        lines.append("            (add train.caption_weight=1 to train on the captions as text)")
    return lines


def scores_lines(split: str, scores: Mapping[str, Any]) -> list[str]:
    """Accuracies of a split: overall, by group, and the best and worst kinds of question."""
    people = "patients" in scores.get("by_group", {}) or split == "test_slab"
    source = [f"  asked     {scores['data']}"] if "data" in scores else []
    lines = [*source, score_line(split, SPLITS[split] if people and split in SPLITS else "held-out questions", scores)]
    lines += [score_line("", GROUPS.get(name, name), part) for name, part in scores.get("by_group", {}).items()]
    lines += kind_lines(scores["by_kind"])
    if scores["n"] and "counted" in scores and scores["subjects"] < MANY:
        lines.append(f"            (few {scores['counted']}: the interval itself is uncertain)")
    if scores.get("majority") is not None:
        lines.append("            (guessing: the most common training answer to the same question)")
        lines += beyond_lines(scores.get("beyond_guessing"), scores.get("counted", "people"))
    return lines


def beyond_lines(found: Mapping[str, Any] | None, counted: str) -> list[str]:
    """Whether the answers are better than guessing, beyond chance."""
    if found is None or found["equal"]:
        return []
    if found["few"]:
        return [f"            (better than guessing? {found['people']} {counted} cannot show it, 6 are needed)"]
    low, high, p = (100 * found["low"], 100 * found["high"], found["p"])
    told = f"{100 * found['difference']:+.1f} points [{low:+.1f} to {high:+.1f}], p {max(p, 0.001):.3f}"
    return [f"            (right minus guessing: {told}{' or less' if p < 0.001 else ''})"]


def score_line(label: str, what: str, scores: Mapping[str, Any]) -> str:
    if not scores["n"]:
        return f"  {label:9} {what}: no questions"
    low, high = scores["interval"]
    right = f"{what}: {percent(scores['accuracy'])} right [{100 * low:.0f} to {100 * high:.0f}], n = {scores['n']}"
    if "counted" in scores:
        right += f" questions about {scores['subjects']} {scores['counted']}"
    guess = scores.get("majority")
    return f"  {label:9} {right}" + ("" if guess is None else f"; guessing {percent(guess)}")


def kind_lines(kinds: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The kinds that went best and worst, beside the majority answer, where that says something."""
    asked = [(name, scores) for name, scores in kinds.items() if scores["n"]]
    if len(asked) < 2:
        return []
    if not any(scores["accuracy"] for _, scores in asked):
        return [f"  kinds     none of the {len(asked)} kinds of question was answered right even once"]
    ranked = sorted((item for item in asked if item[1]["n"] >= ENOUGH), key=lambda item: -item[1]["accuracy"])
    if len(ranked) < 2:
        return [f"  kinds     too few questions of each kind to rank them ({ENOUGH} are needed)"]
    count = min(2, len(ranked) // 2)
    best, worst = (", ".join(kind(*item) for item in part) for part in (ranked[:count], ranked[-count:]))
    return [f"  best      {best}", f"  worst     {worst}"]


def kind(name: str, scores: Mapping[str, Any]) -> str:
    guess = scores.get("majority")
    return f"{name} {percent(scores['accuracy'])}" + ("" if guess is None else f" (guessing {percent(guess)})")


def matching_lines(summary: Mapping[str, Any]) -> list[str]:
    matching = summary.get("matching")
    if not matching:
        return []
    if not measurable(matching["chance"]):
        return [f"  matching  {WHY_NOT}"]
    move = f"{percent(matching['before'])} -> {percent(matching['after'])}"
    return [
        f"  matching  {move} of the pairs found in graphs of {matching['nodes']}; chance {percent(matching['chance'])}"
    ]

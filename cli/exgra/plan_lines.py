"""What `exgra train --dry-run` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exgra.screen import duration, hanging
from graphalign.counts import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medmllm.planning.plan import Plan


def plan_lines(found: Plan) -> Iterator[str]:
    """The lines of a plan, each with its word in front and none wider than a screen."""
    yield from map(hanging, plan_sentences(found))


def plan_sentences(found: Plan) -> Iterator[str]:
    """The same, as long as they come."""
    where = f"{found.gpus} x {found.card}" if found.card else found.device
    parts = ", ".join(f"{name} {count:,}" for name, count in found.parts.items())
    yield f"plan      {found.name} · {found.parameters:,} parameters · {where}"
    yield f"          {parts}"
    yield data_line(found)
    yield from (f"warning   {warning}" for warning in found.warnings)
    yield from under(
        "stages", [f"{count_of(count, 'step')} {name} ({' + '.join(on)})" for name, count, on in found.stages]
    )
    yield from under("align", alignment_lines(found))
    for cost in found.costs:
        yield from cost_lines(cost)
    yield f"memory    about {found.memory_gb:g} GB · disk about {space(found.disk_mb)}"
    yield from advice(found)


def under(word: str, lines: Sequence[str]) -> Iterator[str]:
    """Lines that share the word in front of the first."""
    for number, line in enumerate(lines):
        yield f"{'' if number else word:9} {line}"


def data_line(found: Plan) -> str:
    if found.missing:
        return f"data      {found.missing} is not here; lengths are assumed"
    return f"data      {' / '.join(f'{count} {split}' for split, count in found.rows.items())} rows"


def alignment_lines(found: Plan) -> list[str]:
    """What aligns the views: the parts of graph alignment, or the baseline in its place; or that nothing does."""
    if not found.aligns:
        return ["nothing: align.weight is 0"]
    if found.loss != "alignment":
        return [f"{found.loss} · batches of {found.nodes}"]
    estimator = found.estimator if found.criterion == "hamming" else f"{found.criterion} (estimator: {found.estimator})"
    return [found.solver, estimator, f"{found.barycenter} barycenter · graphs of {found.nodes} nodes"]


def cost_lines(cost: dict[str, Any]) -> Iterator[str]:
    """A stage: what a step is, and what a GPU holds."""
    step = f"{cost['tokens']:,} tokens and {scaled(cost['flops'])}FLOP a step"
    if cost["seconds"] is not None:
        rate = cost["tokens"] / cost["seconds"]
        step += f" · {cost['seconds']:.2g} s, {rate:,.0f} tokens/s, {duration(3600 * cost['hours'])} in all"
    parts = ", ".join(f"{name} {size:.2g}" for name, size in cost["memory"].items() if size >= 0.01)
    yield f"{cost['name'][:9]:9} {cost['trained']:,} learn · {step}"
    yield f"          {cost['total']:.3g} GB: {parts}"


def scaled(number: float) -> str:
    """A number with the letter of its size: 3.2e15 is `3.2 P`."""
    for letter, size in (("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number / 1e6:.3g} M"


def space(mib: float) -> str:
    """Disk space, in the unit of large amounts of memory."""
    return f"{mib:g} MB" if mib < 1024 else f"{mib / 1024:.3g} GB"


def advice(found: Plan) -> Iterator[str]:
    """What would make the run fit, where it does not; what the times assume."""
    from medmllm.planning.cost import CARDS, GIB, UTILISATION

    if found.card is None:
        return
    room = CARDS[found.card].memory / GIB
    if found.memory_gb > room:
        ways = "train.gradient_checkpointing=true, engine.micro_batch=1, or a preset with lora"
        more = "more GPUs with --nproc and engine.strategy=fsdp"
        yield f"warning   more than the {room:.0f} GB of a card: {more}, {ways}"
    yield f"          times assume {100 * UTILISATION:.0f} % of the card's stated peak"

"""A language model as the judge of free answers: each pair is read twice, with the two answers exchanged.

The judge sees the question, what is known of the image, and two answers; never the image. A judge that favours the
first place gives itself away by the exchange, and favours nobody in the mean.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from medmllm.data.captions.journal import journal
from medmllm.data.records import Record
from medmllm.endpoint import Endpoint, RefusedError, TransientError, with_retries
from medmllm.evaluate.bootstrap import intervals_of_means

LEAST, MOST = 1, 10
ORDERS = ("own first", "own second")
MAX_TOKENS = 200
INSTRUCTIONS = f"""\
You grade two answers to a question about a medical image. You do not see the image; rely on the description.
Judge helpfulness, relevance, accuracy and detail. The order of the answers means nothing.
Reply with JSON alone: {{"first": <{LEAST} to {MOST}>, "second": <{LEAST} to {MOST}>, "reason": "<one sentence>"}}"""
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one question.

    Attributes:
        id: of the question.
        question: as both were asked.
        context: what is known of the image, for the judge alone.
        own: the answer of the system that is judged.
        other: the one that it is compared with: the true answer, or that of another system.
        kind: of the question.
        cluster: the person or image.
    """

    id: str
    question: str
    context: str
    own: str
    other: str
    kind: str = ""
    cluster: str = ""


Grades = tuple[float, float]  # own, other


def judge(
    pairs: Sequence[Pair],
    endpoint: Endpoint,
    progress: Path,
    *,
    seed: int = 0,
    workers: int = 4,
    heard: Callable[[int, int], None] = lambda count, total: None,
) -> dict[str, Any]:
    """Has every pair graded in both orders.

    Grades are appended to `progress` as they come, so a call that was stopped continues, and one that is repeated asks
    nothing again. The seed goes with each request, at temperature 0; whether a server heeds it is its own affair.

    Returns:
        `{"n", "failed": [ids], "relative", "interval", "own", "other", "wins", "ties", "losses", "first_place",
        "inconsistent", "by_kind"}`. `relative` is the published figure: the sum of own grades as percent of the sum of
        the other's, over both orders. A win needs both orders to agree. `first_place` is what standing first is worth
        in grades, `inconsistent` the percent of pairs whose winner changes with the order. Pairs that could not be
        graded are named, and are in no figure.

    Raises:
        RunError: the endpoint takes no request at all: wrong key, model or address.
    """
    by = f"{endpoint.url} {endpoint.model} seed {seed}"
    grades = _all_grades(pairs, endpoint, progress, seed, by, workers, heard)
    both = [tuple(grades.get(_key(pair, order, by)) for order in ORDERS) for pair in pairs]
    whole = [(pair, found) for pair, found in zip(pairs, both, strict=True) if None not in found]
    failed = [pair.id for pair, found in zip(pairs, both, strict=True) if None in found]
    kinds: defaultdict[str, list[Any]] = defaultdict(list)
    for pair, found in whole:
        kinds[pair.kind].append((pair, found))
    told = {"n": len(whole), "failed": failed, **_figures(whole)}
    return {**told, "by_kind": {kind: {"n": len(part), **_figures(part)} for kind, part in sorted(kinds.items())}}


def _all_grades(
    pairs: Sequence[Pair],
    endpoint: Endpoint,
    progress: Path,
    seed: int,
    by: str,
    workers: int,
    heard: Callable[[int, int], None],
) -> dict[str, Grades]:
    """The grades of every reading that could be graded, by its key; each is on the disk before it counts."""
    with journal(progress) as kept, ThreadPoolExecutor(workers) as pool:
        wanted = {_key(pair, order, by): (pair, order) for pair in pairs for order in ORDERS}
        jobs = {
            pool.submit(_patiently, endpoint, pair, order, seed, key): key
            for key, (pair, order) in wanted.items()
            if key not in kept.done
        }
        try:
            for number, job in enumerate(as_completed(jobs), start=len(wanted) - len(jobs) + 1):
                found, pair = job.result(), wanted[jobs[job]][0]
                if found is not None:
                    kept.add(jobs[job], Record(pair.id, "", ((pair.question, ""),), "", ""), [json.dumps(found)], by)
                heard(number, len(wanted))
        except BaseException:
            endpoint.pace.stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
        rows = {key: json.loads(kept.done[key][0]) for key in wanted if key in kept.done}
    return {key: (float(own), float(other)) for key, (own, other) in rows.items()}


def _key(pair: Pair, order: str, by: str) -> str:
    told = [pair.question, pair.context, pair.own, pair.other, order, by]
    return sha256(json.dumps(told).encode()).hexdigest()[:24]


def _patiently(endpoint: Endpoint, pair: Pair, order: str, seed: int, salt: str) -> Grades | None:
    """The grades of one reading, or None where the endpoint gave none."""
    try:
        return with_retries(
            lambda number: _ask(endpoint, pair, order, seed), endpoint.pace, tries=endpoint.tries, salt=salt
        )
    except (TransientError, RefusedError):
        return None


def _ask(endpoint: Endpoint, pair: Pair, order: str, seed: int) -> Grades:
    """Own and other grade of one reading."""
    first, second = (pair.own, pair.other) if order == ORDERS[0] else (pair.other, pair.own)
    parts = {"Description": pair.context, "Question": pair.question, "First answer": first, "Second answer": second}
    text = "\n\n".join(f"[{name}]\n{value or '(nothing)'}" for name, value in parts.items())
    messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": text}]
    said = endpoint.ask(messages, max_tokens=MAX_TOKENS, temperature=0.0, seed=seed)
    one, two = read_grades(said)
    return (one, two) if order == ORDERS[0] else (two, one)


def read_grades(said: str) -> Grades:
    """Grades of the first and the second answer out of a reply, also inside a code fence.

    Raises:
        TransientError: they are not there, or not between 1 and 10.

    Example:
        >>> read_grades('Sure! ```json {"first": 7, "second": 4.5, "reason": "more detail"} ```')
        (7.0, 4.5)
    """
    found = _OBJECT.search(said)
    try:
        row = json.loads(found[0]) if found else {}
        grades = float(row["first"]), float(row["second"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TransientError("the reply holds no two grades") from None
    if not all(LEAST <= grade <= MOST for grade in grades):
        raise TransientError(f"the grades {grades} are not between {LEAST} and {MOST}")
    return grades


def _figures(graded: Sequence[tuple[Pair, Any]]) -> dict[str, Any]:
    if not graded:
        return dict.fromkeys(("relative", "interval", "own", "other", "wins", "ties", "losses", "first_place"))
    table = np.array([grades for _, grades in graded])  # (pairs, orders, own and other)
    own, other = table[:, :, 0], table[:, :, 1]
    signs = np.sign(own - other)
    winner = np.where(signs[:, 0] == signs[:, 1], signs[:, 0], 0)
    return {
        "relative": 100 * float(own.sum() / other.sum()),
        "interval": _interval([pair for pair, _ in graded], own.sum(1), other.sum(1)),
        "own": float(own.mean()),
        "other": float(other.mean()),
        **{name: int((winner == sign).sum()) for name, sign in (("wins", 1), ("ties", 0), ("losses", -1))},
        "first_place": fmean([float((own - other)[:, 0].mean()), float((other - own)[:, 1].mean())]),
        "inconsistent": 100 * float((signs[:, 0] != signs[:, 1]).mean()),
    }


def _interval(pairs: Sequence[Pair], own: Any, other: Any) -> list[float] | None:
    """Interval of the relative grade, by a bootstrap over people or images; None where all pairs are about one."""
    found = intervals_of_means([pair.cluster or f"question {pair.id}" for pair in pairs], own, other, scale=100)
    return found[0] if found else None

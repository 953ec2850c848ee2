"""A matching as a picture: the scores with the pairs on the diagonal, and both sets of samples with their pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exgra.matching.folder import judged
from graphalign.counts import count_of
from graphalign.files.pairing import Pairing
from graphalign.files.truth import ALONE, accuracy
from graphalign.solvers.pair_scores import TableScores
from medmllm.plots.style import BLUE, FAINT, INK, ORANGE, RED, figure, quiet, save

BOXES_UP_TO = 60  # pairs that can be outlined one by one
CLUSTERED_UP_TO = 3000  # rows
SHOWN_UP_TO = 2000  # pairs; of more, some are drawn
ROWS_AT_ONCE = 64  # whose scores are computed at once
LINES_UP_TO = 1500  # pairs whose lines are still told apart


def matching_picture(pairing: Pairing, truth: np.ndarray | None, path: Path, *, note: str = "") -> Path:
    """Draw one matching.

    At the left the scores, similar rows together and columns in the order of their partners, so that the pairs made lie
    on the diagonal. At the right, where both files have one width,
    all samples on two principal components, with a line for each pair. Wrong pairs are dashed and crossed, never told
    by colour alone.

    Args:
        pairing: what was matched.
        truth: the true column of each row, or None where it is not known.
        path: PNG to write.
        note: what the title says of pairs that were fixed or forbidden.

    Returns:
        The path.
    """
    title = "; ".join(filter(None, (headline(pairing, truth), note)))
    if len(pairing.rows) > SHOWN_UP_TO:
        pairing, truth = thinned(pairing, truth)
        title += f"; {len(pairing.rows):,} shown"
    flat = pairing.first.x.shape[1] == pairing.second.x.shape[1]
    drawn = figure(10.6 if flat else 5.6, 5.6)
    panels = drawn.subplots(1, 1 + flat, squeeze=False).ravel()
    draw_scores(drawn, panels[0], pairing, truth, title)
    if flat:
        draw_samples(panels[1], pairing, truth)
    return save(drawn, path)


def headline(pairing: Pairing, truth: np.ndarray | None) -> str:
    if truth is None:
        best = f", {int(pairing.mutual.sum())} mutually best" if pairing.judged else ""
        return f"{count_of(len(pairing.rows), 'pair')}{best}"
    found = accuracy(pairing, truth)
    return f"{found['right']} of {found['of']} true pairs found"


def thinned(pairing: Pairing, truth: np.ndarray | None) -> tuple[Pairing, np.ndarray | None]:
    """Some of very many pairs, evenly spaced, as a matching of their own samples, and what is true among them."""
    some = np.linspace(0, len(pairing.rows) - 1, SHOWN_UP_TO).astype(np.int64)
    rows, columns, places = pairing.rows[some], pairing.columns[some], np.arange(len(some))
    parts = torch.from_numpy(rows).split(ROWS_AT_ONCE)
    table = torch.cat([pairing.scores.block(part, 0, pairing.scores.shape[1])[:, columns] for part in parts])
    first, second = (
        side._replace(x=side.x[kept], ids=[side.ids[place] for place in kept])
        for side, kept in ((pairing.first, rows), (pairing.second, columns))
    )
    chosen = {name: getattr(pairing, name)[some] for name in ("score", "mass", "mutual", "margin")}
    small = replace(
        pairing, first=first, second=second, scores=TableScores(table), rows=places, columns=places, **chosen
    )
    if truth is None:
        return small, None
    place = np.full(len(pairing.second.x), ALONE)
    place[columns] = places
    true = truth[rows]
    return small, np.where(true == ALONE, ALONE, place[true])


# --- scores ---------------------------------------------------------------------------------------------------------


def draw_scores(drawn: Any, axes: Any, pairing: Pairing, truth: np.ndarray | None, title: str) -> None:
    rows, columns = orders(pairing)
    shown = pairing.scores.block(torch.from_numpy(rows), 0, pairing.scores.shape[1]).numpy()[:, columns]
    quiet(axes, title)
    axes.grid(False)
    low, high = np.percentile(shown, (1, 99.8))
    image = axes.imshow(shown, cmap="Blues", vmin=low, vmax=max(high, low + 1e-9), aspect="auto")
    bar = drawn.colorbar(image, ax=axes, shrink=0.75, pad=0.02)
    bar.set_label("score of the pair", fontsize=8.5, color=FAINT)
    bar.ax.tick_params(labelsize=8, colors=FAINT)
    bar.outline.set_visible(False)
    hidden = len(pairing.second.x) - len(columns), len(pairing.first.x) - len(rows)
    axes.set_ylabel(f"{pairing.first.name}, similar ones together{left_out(hidden[1])}", fontsize=9, color=INK)
    axes.set_xlabel(f"{pairing.second.name}, in the order of partners{left_out(hidden[0])}", fontsize=9, color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    made = np.stack([pairing.rows, pairing.columns], 1)
    handles = mark_pairs(axes, places(made, rows, columns))
    if truth is not None:
        handles.append(mark_missed(axes, places(missed(made, truth), rows, columns)))
    legend(axes, handles)


def left_out(count: int) -> str:
    return f" ({count} without one not shown)" if count else ""


def orders(pairing: Pairing) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a partner, similar ones together, and columns as their partners; then who is alone, unless these
    are more than the pairs.
    """
    order = by_likeness(unit(pairing.first.x))
    partner = np.full(len(order), ALONE)
    partner[pairing.rows] = pairing.columns
    paired, alone = order[partner[order] != ALONE], order[partner[order] == ALONE]
    others = np.setdiff1d(np.arange(len(pairing.second.x)), pairing.columns)
    room = max(len(paired), BOXES_UP_TO)
    rows = [paired, alone] if len(alone) <= room else [paired]
    columns = [partner[paired], others] if len(others) <= room else [partner[paired]]
    return np.concatenate(rows), np.concatenate(columns)


def by_likeness(x: np.ndarray) -> np.ndarray:
    """An order in which similar rows stand together: the leaves of a clustering, or the first principal component."""
    if not 2 < len(x) <= CLUSTERED_UP_TO:
        return np.argsort(principal(x, 1)[:, 0], kind="stable")
    from scipy.cluster.hierarchy import leaves_list, linkage

    return np.asarray(leaves_list(linkage(x, "average")))


def places(pairs: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Where pairs lie in the picture, (pairs, 2) as row and column, without those that are not shown."""
    spots = [np.full(max(pairs[:, side].max(initial=0), order.max(initial=0)) + 1, ALONE)
             for side, order in enumerate((rows, columns))]  # fmt: skip
    for spot, order in zip(spots, (rows, columns), strict=True):
        spot[order] = np.arange(len(order))
    found = np.stack([spots[0][pairs[:, 0]], spots[1][pairs[:, 1]]], 1)
    return found[(found != ALONE).all(1)]


def missed(made: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The true pairs that were not made."""
    chosen = np.full(len(truth), ALONE)
    chosen[made[:, 0]] = made[:, 1]
    rows = np.flatnonzero((truth != ALONE) & (truth != chosen))
    return np.stack([rows, truth[rows]], 1)


def mark_pairs(axes: Any, made: np.ndarray) -> list[Any]:
    """A box around each pair, or two lines along the diagonal where there are many."""
    if len(made) <= BOXES_UP_TO:
        boxes(axes, made)
        return [mark("pair made", INK, "s")]
    axes.plot(*diagonals(made), color=INK, linewidth=0.8)
    return [mark("pairs made, between the lines", INK, "")]


def mark_missed(axes: Any, places: np.ndarray) -> Any:
    """A cross on each true pair that was missed."""
    size = float(np.clip(160 / max(len(places), 1), 3, 8))
    axes.plot(places[:, 1], places[:, 0], "x", color=RED, markersize=size, markeredgewidth=1.2)
    return mark("true pair missed", RED, "x")


def boxes(axes: Any, made: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    for row, column in made:
        box = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1.1, clip_on=False)
        axes.add_patch(box)


def diagonals(made: np.ndarray) -> tuple[list[float], list[float]]:
    """Two thin lines along the diagonal, that leave the pairs themselves to be seen."""
    end, off = len(made) - 1.0, max(2.0, len(made) / 120)
    return [off, end, np.nan, 0.0, end - off], [0.0, end - off, np.nan, off, end]


# --- samples --------------------------------------------------------------------------------------------------------


def draw_samples(axes: Any, pairing: Pairing, truth: np.ndarray | None) -> None:
    both = np.concatenate([unit(pairing.first.x), unit(pairing.second.x)])
    spots = principal(both, 2)
    first, second = spots[: len(pairing.first.x)], spots[len(pairing.first.x) :]
    quiet(axes, "samples and their pairs")
    axes.set_xlabel("first principal component of the directions", fontsize=9, color=INK)
    axes.set_ylabel("second principal component", fontsize=9, color=INK)
    handles = []
    if len(pairing.rows) <= LINES_UP_TO:
        unknown: list[bool | None] = [None] * len(pairing.rows)
        right = unknown if truth is None else judged(truth, pairing.rows, pairing.columns)
        handles = draw_lines(axes, first[pairing.rows], second[pairing.columns], right)
    size = float(np.clip(900 / len(spots), 6, 34))
    axes.scatter(*first.T, s=size, marker="o", color=BLUE, linewidths=0, zorder=3)
    axes.scatter(*second.T, s=size, marker="^", color=ORANGE, linewidths=0, zorder=3)
    legend(axes, [mark(pairing.first.name, BLUE, "o"), mark(pairing.second.name, ORANGE, "^"), *handles])


def draw_lines(axes: Any, starts: np.ndarray, ends: np.ndarray, right: list[bool | None]) -> list[Any]:
    """A line for each pair: dashed where it is wrong, dotted beside judged ones where that is not known."""
    from matplotlib.collections import LineCollection

    thin = float(np.clip(60 / max(len(starts), 1), 0.45, 1.2))
    some = any(value is not None for value in right)
    unknown = (None, FAINT, "dotted", "pair of unknown truth") if some else (None, FAINT, "solid", "pair")
    handles = []
    for value, colour, style, name in (
        (True, FAINT, "solid", "right pair"),
        (False, RED, "dashed", "wrong pair"),
        unknown,
    ):
        chosen = [place for place, known in enumerate(right) if known is value]
        lines = np.stack([starts[chosen], ends[chosen]], 1)
        axes.add_collection(LineCollection(list(lines), colors=colour, linestyles=style, linewidths=thin, zorder=2))
        if chosen or (some and value is not None):
            handles.append(mark(name, colour, "", style))
    return handles


def unit(x: np.ndarray) -> np.ndarray:
    """Rows at unit length, as the cosine compares them."""
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(lengths > 0, lengths, 1)


def principal(x: np.ndarray, count: int) -> np.ndarray:
    """The first principal components of the rows, (n, count); zeros where there are fewer."""
    centred = x.astype(np.float64) - x.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    found = (left * values)[:, :count]
    return np.pad(found, ((0, 0), (0, count - found.shape[1])))


# --- legends --------------------------------------------------------------------------------------------------------


def mark(label: str, colour: str, marker: str, line: str = "") -> Any:
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"linestyle": line or ("" if marker else "solid"), "marker": marker, "label": label}
    hollow: dict[str, Any] = (
        {"markerfacecolor": "none", "markeredgecolor": colour} if marker == "s" else {"color": colour}
    )
    return Line2D([], [], markersize=7, **style, **hollow)


def legend(axes: Any, handles: list[Any]) -> None:
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(handles), fontsize=8.5,
        frameon=False, labelcolor=INK, handletextpad=0.4, columnspacing=1.2,
    )  # fmt: skip

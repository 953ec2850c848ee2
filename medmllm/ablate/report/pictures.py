"""How the views of a run found each other: matchings before and after, pairs with pictures and words, projections."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medmllm.ablate.report.charts import WIDTH
from medmllm.ablate.report.svg import Picture
from medmllm.evaluate.matching import Matching
from medmllm.evaluate.measurable import measurable
from medmllm.plots.style import BLUE, FAINT, INK, ORANGE, RED, figure, quiet
from medmllm.run.folder import MATCHING_AFTER, MATCHING_BEFORE, RunFolder

SHOWN = 7  # pairs of the picture with crops
OVERLAID = 4  # images of the picture with patches
CROP = 72  # pixels
FAINTEST = 0.03  # mass of a matching that is drawn
TITLES = ("before training", "after training")


@dataclass(frozen=True, eq=False)
class Graph:
    """The first held-out graph of a run, before and after training."""

    before: Matching
    after: Matching

    @classmethod
    def of(cls, folder: Path) -> Graph | None:
        """None where the run has not got so far, or where every matching of its rows is right."""
        run = RunFolder(folder)
        if not (folder / MATCHING_BEFORE).exists() or not (folder / MATCHING_AFTER).exists():
            return None
        found = cls(*(Matching.from_dict(run.read_json(name)) for name in (MATCHING_BEFORE, MATCHING_AFTER)))
        return found if measurable(found.after.chance) else None

    @cached_property
    def same(self) -> np.ndarray:
        """(n, n): whether two samples are interchangeable."""
        groups = self.after.groups.numpy()
        return np.equal.outer(groups, groups)

    def right(self, matching: Matching) -> float:
        return float((matching.first.numpy() * self.same).sum() / len(self.same))


def pictures(folder: Path, prefix: str, label: str) -> Iterator[Picture]:
    """Every picture of the matchings of one run.

    Args:
        folder: of the run.
        prefix: of the pictures' ids.
        label: what the run is, for the titles.
    """
    graph = Graph.of(folder)
    if graph is None:
        return
    yield heatmaps(graph, prefix, label)
    if records := _records(folder, graph.after.names):
        yield pairs(graph, records, prefix, label)
        if graph.before.patches and graph.after.patches:
            yield from overlays(graph, records, prefix, label)
    if graph.before.points and graph.after.points:
        yield projection(graph, prefix, label)


def heatmaps(graph: Graph, prefix: str, label: str) -> Picture:
    """The matching before and after, the true pairs outlined."""
    drawn = figure(WIDTH, 3.5)
    order = np.argsort(graph.after.groups.numpy(), kind="stable")
    for axes, title, matching in zip(drawn.subplots(1, 2), TITLES, (graph.before, graph.after), strict=True):
        table = matching.first.numpy()[np.ix_(order, order)]
        _heatmap(axes, f"{title}: {100 * graph.right(matching):.0f} %", table, graph.same[np.ix_(order, order)])
    n = len(order)
    alt = (
        f"{label}: of {n} images {100 * graph.right(graph.before):.0f} % are matched to their own caption before "
        f"training and {100 * graph.right(graph.after):.0f} % after it."
    )
    caption = (
        f"{label}. Rows are images, columns captions, of one held-out graph. Outlined: true pairs. Blue: right; "
        f"orange with a cross: wrong. The stronger the colour, the more certain the match."
    )
    return Picture.of(drawn, f"{prefix}-matching", "Matching before and after", alt=alt, caption=caption)


def pairs(graph: Graph, records: Sequence[tuple[Any, str]], prefix: str, label: str) -> Picture:
    """Some images and captions of the graph after training, and which was matched to which."""
    found = graph.after.first.numpy().argmax(1)
    chosen = choose_nodes(found, graph.same)
    drawn = figure(WIDTH, 0.72 * len(chosen) + 0.3)
    axes = drawn.subplots()
    axes.set(xlim=(0, 6.6), ylim=(len(chosen) - 0.5, -0.5), aspect="auto")
    axes.set_axis_off()
    for row, node in enumerate(chosen):
        image, words = records[node]
        axes.imshow(image, extent=(0, 0.86, row + 0.45, row - 0.45), cmap="gray", interpolation="none", aspect="auto")
        text = textwrap.fill(words, 36, max_lines=3, placeholder="…")
        axes.text(3.05, row, text, fontsize=7.5, color=INK, va="center", linespacing=1.15, parse_math=False)
        _line(axes, row, chosen, int(found[node]), right=bool(graph.same[node, found[node]]))
    axes.set(xlim=(0, 6.6), ylim=(len(chosen) - 0.5, -0.5))
    wrong = sum(not graph.same[node, found[node]] for node in chosen)
    alt = f"{label}: {len(chosen)} images and captions; {len(chosen) - wrong} matched correctly, {wrong} wrongly."
    caption = (
        f"{label}, after training: {len(chosen)} of {len(found)} nodes; wrong pairs first. Solid blue: right pair. "
        f"Dashed red: wrong pair; a short one: a caption not shown. Each caption is next to its image."
    )
    return Picture.of(drawn, f"{prefix}-pairs", "Which image found which caption", alt=alt, caption=caption)


def overlays(graph: Graph, records: Sequence[tuple[Any, str]], prefix: str, label: str) -> Iterator[Picture]:
    """Where some images are like the caption that they were matched to; only where patches make a square."""
    tables = [np.array(matching.patches) for matching in (graph.before, graph.after)]
    side = round(tables[0].shape[1] ** 0.5)
    if side * side != tables[0].shape[1] or side < 2:
        return
    chosen = choose_nodes(graph.after.first.numpy().argmax(1), graph.same, OVERLAID)
    drawn = figure(WIDTH, 1.05 * len(chosen) + 0.35)
    axes = drawn.subplots(len(chosen), 4, squeeze=False, width_ratios=(1, 1, 1, 2.6))
    for row, node in enumerate(chosen):
        _overlay(axes[row], records, graph, node, [table[node].reshape(side, side) for table in tables])
    for place, title in zip(axes[0], ("image", "before", "after"), strict=False):
        place.set_title(title, fontsize=9, color=INK)
    spans = [f"{np.ptp(table[chosen], axis=1).mean():.2f}" for table in tables]
    alt = (
        f"{label}: {len(chosen)} images, their patches shaded by likeness to a caption. The cosines of an image span "
        f"{spans[0]} before training and {spans[1]} after it, on average."
    )
    caption = (
        f"{label}. Patches by their cosine with the caption that the image was matched to at that time; the one after "
        f"training is beside it. Yellow is most alike, blue least, each picture for itself. Training sees only means "
        f"over patches: this shows what the mean is made of; it does not prove where a finding is."
    )
    yield Picture.of(drawn, f"{prefix}-patches", "Where an image is like its caption", alt=alt, caption=caption)


def _overlay(axes: Any, records: Sequence[tuple[Any, str]], graph: Graph, node: int, tables: Sequence[Any]) -> None:
    """An image, its patches before and after, and the caption that it was matched to."""
    found = int(graph.after.first[node].argmax())
    right = "✓" if graph.same[node, found] else "✗"
    for place in axes:
        place.set_axis_off()
    for place, table in zip(axes, (None, *tables), strict=False):
        place.imshow(records[node][0], cmap="gray", extent=(0, 1, 0, 1), interpolation="none")
        if table is not None:
            place.imshow(table, cmap="cividis", alpha=0.55, extent=(0, 1, 0, 1), interpolation="none")
    text = textwrap.fill(f"{right} {records[found][1]}", 34, max_lines=5, placeholder="…")
    axes[3].text(0, 0.5, text, fontsize=7.5, color=INK, va="center", linespacing=1.15, parse_math=False)


def projection(graph: Graph, prefix: str, label: str) -> Picture:
    """Both views of every sample in the plane of their largest spread, before and after training."""
    drawn = figure(WIDTH, 3.1)
    for axes, title, matching in zip(drawn.subplots(1, 2), TITLES, (graph.before, graph.after), strict=True):
        assert matching.points is not None
        image, caption = (np.array(points) for points in matching.points.values())
        quiet(axes, title)
        axes.grid(False)
        axes.set(xticks=[], yticks=[])
        axes.plot(*np.stack([image, caption]).transpose(2, 0, 1), color=FAINT, linewidth=0.7, alpha=0.7)
        axes.plot(*image.T, "o", color=BLUE, markersize=4.5, label="image")
        axes.plot(*caption.T, "^", color=ORANGE, markersize=4.5, label="caption")
    drawn.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    far = [_gap(matching) for matching in (graph.before, graph.after)]
    alt = (
        f"{label}: an image and its own caption lie {far[0]:.2f} of the mean distance between any image and any "
        f"caption apart before training, and {far[1]:.2f} after it, in the plane."
    )
    caption_text = (
        f"{label}. The first two principal components of the pooled views, scaled to unit length; lines join an image "
        f"with its own caption. A plane shows only part of the distances."
    )
    return Picture.of(drawn, f"{prefix}-plane", "Views before and after", alt=alt, caption=caption_text)


def choose_nodes(found: np.ndarray, same: np.ndarray, count: int = SHOWN) -> list[int]:
    """Nodes to show: a chain of wrong pairs, each leading to the next, and then right ones."""
    wrong = [i for i in range(len(found)) if not same[i, found[i]]]
    right = [i for i in range(len(found)) if same[i, found[i]]]
    chain: list[int] = []
    for start in wrong:
        node = start
        while node not in chain and node in wrong and len(chain) < max(count - 3, count - len(right)):
            chain.append(node)
            node = int(found[node])
    return [*chain, *right][: min(count, len(found))]


def crop(image: Any) -> Any:
    """A small square from the middle of an image."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((CROP, CROP))


def _records(folder: Path, names: Sequence[str]) -> list[tuple[Any, str]]:
    """Crop and caption of each record of a graph; none where the data is no longer available."""
    from medmllm.data.source import shown_together
    from medmllm.data.sources import open_source
    from medmllm.errors import UserError
    from medmllm.settings.load import load_config

    try:
        source = open_source(load_config(str(folder)).data, strict=False)
        found = {record.id: record for split in source.splits for record in source.records(split)}
        return [(np.asarray(crop(shown_together(source, found[name]))), found[name].caption) for name in names]
    except (UserError, OSError, KeyError):
        return []


def _heatmap(axes: Any, title: str, table: np.ndarray, same: np.ndarray) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    quiet(axes, title)
    axes.grid(False)
    axes.spines[:].set(visible=True, color=FAINT)
    axes.set(xlim=(-0.5, len(table) - 0.5), ylim=(len(table) - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
    cells = [(row, column) for row, column in np.argwhere(table > FAINTEST)]
    colours = [to_rgba(BLUE if same[cell] else RED, min(1.0, float(table[cell]))) for cell in cells]
    boxes = [Rectangle((column - 0.5, row - 0.5), 1, 1) for row, column in cells]
    axes.add_collection(PatchCollection(boxes, facecolors=colours, edgecolors="none"))
    rows, columns = np.nonzero((table > 0.5) & ~same)
    axes.plot(columns, rows, "x", color="#ffffff", markersize=max(2.0, 6.5 - len(table) / 8), markeredgewidth=1.0)
    for start in np.unique(same.argmax(1)):
        size = int(same[start].sum())
        box = Rectangle((start - 0.5, start - 0.5), size, size, fill=False, edgecolor=INK, linewidth=0.8, clip_on=False)
        axes.add_patch(box)


def _line(axes: Any, row: int, chosen: Sequence[int], target: int, *, right: bool) -> None:
    """From an image to the caption that it was matched to."""
    start, end = 0.95, 2.95
    style = {"color": BLUE, "linestyle": "-"} if right else {"color": RED, "linestyle": (0, (4, 2.5))}
    if target not in chosen:  # an interchangeable sample, or one that is not shown
        axes.plot([start, start + 0.45], [row, row], linewidth=1.6, **style)
        return
    axes.plot([start, end], [row, chosen.index(target)], linewidth=1.6, **style)


def _gap(matching: Matching) -> float:
    """Distance of own pairs over the mean distance of all pairs."""
    assert matching.points is not None
    image, caption = (np.array(points) for points in matching.points.values())
    every = np.linalg.norm(image[:, None] - caption, axis=-1)
    return float(np.diag(every).mean() / every.mean())

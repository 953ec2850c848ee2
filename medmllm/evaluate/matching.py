"""How well held-out views find each other: matching accuracy on fixed graphs, without noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from graphalign.metrics import matching_accuracy
from medmllm.data.batches import Reader
from medmllm.data.packing import PackedBatch, interchangeable
from medmllm.data.records import Record
from medmllm.errors import DataError
from medmllm.model.aligned import AlignedLlava, Views
from medmllm.model.alignment import build_matcher

PAIR = ("image", "caption")


@dataclass(frozen=True, eq=False)
class Matching:
    """Image-to-caption matching of held-out graphs.

    Attributes:
        accuracy: share of images matched to their own caption (or to one of the same image).
        chance: what a random matching scores.
        nodes: nodes of a graph.
        graphs: how many graphs were matched.
        first: (n, n) matching of the first graph.
        groups: (n,) its samples; equal numbers are the same image, or have the same caption.
        names: the records of the first graph.
        points: view -> (n, 2) places of the first graph's nodes, by `plane`; None in runs of earlier versions.
        patches: for each image of the first graph, the cosine of every patch with the caption that the image was
            matched to, row by row; None in runs of earlier versions.
    """

    accuracy: float
    chance: float
    nodes: int
    graphs: int
    first: Tensor
    groups: Tensor
    names: tuple[str, ...]
    points: dict[str, list[list[float]]] | None = None
    patches: list[list[float]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for `eval/matching_*.json`."""
        return {**asdict(self), "first": self.first.tolist(), "groups": self.groups.tolist()}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Matching:
        """The inverse of `to_dict`."""
        tensors = {"first": torch.tensor(saved["first"]), "groups": torch.tensor(saved["groups"])}
        return cls(**{**saved, **tensors, "names": tuple(saved["names"])})


@torch.no_grad()
def match_held_out(
    model: AlignedLlava, reader: Reader, records: Sequence[Record], nodes: int, device: torch.device | None = None
) -> Matching:
    """Cut `records` into graphs of `nodes` and match images to captions with the run's own solver.

    Views pass through the alignment's message passing, trained or not, if it has any. Whatever the loss, the matching
    is one-to-one and by the scores of `align.affinity`, so that accuracies can be compared. Costs one forward pass and
    one solver call per graph. Records without a caption of their own are left out. `device` is where the model
    computes, if that is not where its weights are kept.
    """
    records = [record for record in records if not record.caption_missing] or records
    training, device = model.training, device or next(model.parameters()).device
    records = [record for record in records if record.image]
    if not records:
        raise DataError("no record to be matched has an image", hint="hold out rows with images for validation")
    model.eval()
    nodes = min(nodes, len(records))
    chunks = [records[i : i + nodes] for i in range(0, len(records) - nodes + 1, nodes)]
    same = model.align_config.same
    results = [_match(model, reader.pack(one, same=same).to(device), tokens=one is chunks[0]) for one in chunks]
    model.train(training)
    scores = torch.tensor([float(matching_accuracy(graph.found, graph.groups)) for graph in results])
    chances = torch.tensor([float((graph.groups[:, None] == graph.groups).double().mean()) for graph in results])
    first = results[0]
    names = tuple(chunks[0][number].id for number in first.samples)
    finite = all(bool(view.isfinite().all()) for view in first.views.values())
    return Matching(
        accuracy=float(scores.mean()),
        chance=float(chances.mean()),
        nodes=nodes,
        graphs=len(chunks),
        first=first.found,
        groups=first.groups,
        names=names,
        points=plane(first.views) if finite else None,
        patches=likeness(first) if finite else None,
    )


def plane(views: dict[str, Tensor]) -> dict[str, list[list[float]]]:
    """Places of (n, d) views of one space in the plane of their largest common spread.

    All views are scaled to unit length, as cosines see them, centred together, and laid on their first two principal
    components. A component's sign is such that its largest entry is positive, so that the picture can be repeated.
    """
    units = torch.cat([normalize(view.double(), dim=1) for view in views.values()])
    axes = torch.linalg.svd(units - units.mean(0), full_matrices=False)[2][:2]
    signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    places = (units - units.mean(0)) @ (axes * signs).T
    return {name: part.tolist() for name, part in zip(views, places.split(len(units) // len(views)), strict=True)}


class Graph(NamedTuple):
    """A graph's matching (n, n), groups and samples of its nodes (n,), its views (n, d), and the images' patches
    (n, N, d) if asked for and every node is one image."""

    found: Tensor
    groups: Tensor
    views: dict[str, Tensor]
    patches: Tensor | None
    samples: Sequence[int] = ()


def likeness(graph: Graph) -> list[list[float]] | None:
    """Cosines of every patch with the caption that its image was matched to."""
    if graph.patches is None:
        return None
    captions = graph.views["caption"][graph.found.argmax(1)]
    return [
        [round(value, 4) for value in row]
        for row in cosine_similarity(graph.patches, captions[:, None], dim=-1).tolist()
    ]


def _match(model: AlignedLlava, batch: PackedBatch, *, tokens: bool) -> Graph:
    """One graph; the captions come in another order, for solvers break ties by order."""
    out = model.packed(batch, tokens=tokens)
    views, marks = out.views, Views.of(out, batch, tokens=False).groups
    shuffled = torch.randperm(len(marks), generator=torch.Generator().manual_seed(0))
    pair = {PAIR[0]: views[PAIR[0]], PAIR[1]: views[PAIR[1]][shuffled]}
    found = build_matcher(model.align_config, model.alignment).evaluate(pair).matchings["->".join(PAIR)].cpu()
    patches = out.tokens["image"].cpu() if tokens and "image" not in out.masks else None
    samples = list(range(len(batch))) if out.samples is None else out.samples.tolist()
    own = {name: views[name].cpu() for name in PAIR}
    return Graph(found[:, shuffled.argsort()], interchangeable(marks).cpu(), own, patches, samples)

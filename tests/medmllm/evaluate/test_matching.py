"""Matching accuracy of held-out views cannot be had for nothing."""

import pytest
import torch

from medmllm.build import build_job
from medmllm.evaluate.matching import Graph, Matching, likeness, match_held_out, plane


@pytest.fixture
def job(tiny):
    return build_job(tiny())


def test_equal_texts_are_not_matched_by_their_order(job, monkeypatch):
    """With nothing to tell captions apart, the matching is no better than chance."""
    packed = job.model.packed

    class Blank(torch.nn.Module):
        def forward(self, batch, **options):
            out = packed(batch, **options)
            out.views.update(caption=torch.ones_like(out.views["caption"]))
            return out

    monkeypatch.setattr(job.model, "packed", Blank())
    found = match_held_out(job.model, job.reader, job.records[:40], nodes=20)
    assert found.chance == pytest.approx(1 / 20)
    assert found.accuracy <= 0.2


def test_only_whole_graphs_count_and_the_record_comes_back(job):
    found = match_held_out(job.model, job.reader, job.records[:20], nodes=8)
    assert (found.graphs, found.nodes, len(found.names)) == (2, 8, 8)
    assert torch.equal(found.first.sum(0), torch.ones(8))
    again = Matching.from_dict(found.to_dict())
    assert torch.equal(again.first, found.first)
    assert again.names == found.names
    assert again.points == found.points
    assert {name: len(places) for name, places in found.points.items()} == {"image": 8, "caption": 8}
    assert [len(row) for row in found.patches] == [4] * 8
    assert all(-1 <= value <= 1 for row in found.patches for value in row)
    assert again.patches == found.patches


def test_the_plane_keeps_the_distances_of_what_lies_in_one():
    corners = torch.nn.functional.normalize(torch.tensor([[3.0, 1, 1, 0], [1, 3, -1, 0], [2, 2, 0, 0]]), dim=1)
    views = {"image": 5 * corners, "caption": corners}
    places = plane(views)
    assert torch.allclose(torch.tensor(places["image"]), torch.tensor(places["caption"]))
    wide = torch.cdist(corners, corners).double()
    assert torch.allclose(torch.cdist(*[torch.tensor(places["image"]).double()] * 2), wide, atol=1e-6)
    assert places == plane(views)


def test_patches_are_compared_with_the_caption_that_was_found():
    captions = torch.eye(3)
    patches = torch.stack([2 * captions, 3 * captions, captions])
    graph = Graph(torch.eye(3)[[1, 0, 2]], torch.arange(3), {"image": captions, "caption": captions}, patches)
    assert likeness(graph) == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert likeness(graph._replace(patches=None)) is None

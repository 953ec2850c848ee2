import itertools

import pytest
import torch

from graphalign import hamming, matching_accuracy
from graphalign.losses import correspondence


def _permutations(n):
    for order in itertools.permutations(range(n)):
        yield torch.eye(n, dtype=torch.float64)[list(order)]


def _ordinary(x, y):
    return (x * (1 - y) + (1 - x) * y).sum((-2, -1)) / x.shape[-1]


def test_with_different_labels_it_is_the_ordinary_distance():
    x = torch.rand(5, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for labels in (None, torch.tensor([4, 1, 0, 2, 9, 3])):
        target = correspondence(6, labels, x)
        assert torch.allclose(hamming(x, target), _ordinary(x, torch.eye(6, dtype=torch.float64)))


def test_with_groups_it_is_the_distance_to_the_nearest_correct_permutation():
    groups = torch.tensor([0, 1, 0, 2, 1])
    target = correspondence(5, groups, torch.zeros(1, dtype=torch.float64))
    correct = [p for p in _permutations(5) if (p * target).sum() == 5]
    assert len(correct) == 4
    for x in _permutations(5):
        nearest = min(_ordinary(x, p) for p in correct)
        assert hamming(x, target).item() == pytest.approx(nearest.item())


def test_a_row_without_a_right_pair_costs_what_it_is_matched_with():
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    alone, matched, both = (torch.zeros(2, 3).index_put(tuple(torch.tensor(at).T), torch.ones(())) for at in (
        [[0, 0]], [[0, 0], [1, 2]], [[0, 1], [1, 2]],
    ))  # fmt: skip
    assert [hamming(x, target).item() for x in (alone, matched, both)] == [0.0, 0.5, 1.5]


def test_its_ends_and_its_gradient():
    eye = torch.eye(4)
    assert hamming(eye, eye) == 0
    assert hamming(eye.roll(1, 0), eye) == 2
    x = torch.zeros(4, 4, requires_grad=True)
    hamming(x, eye).backward()
    assert torch.allclose(x.grad, (1 - 2 * eye) / 4)


def test_accuracy_counts_groups_as_right():
    swapped = torch.eye(4)[[1, 0, 2, 3]]
    assert matching_accuracy(swapped) == 0.5
    assert matching_accuracy(swapped, torch.tensor([7, 7, 1, 2])) == 1


def test_one_label_for_each_sample():
    with pytest.raises(ValueError, match="one label for each of the 4 samples"):
        correspondence(4, torch.tensor([1, 2]), torch.zeros(1))

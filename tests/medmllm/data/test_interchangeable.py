"""Samples of one image or of one caption are the same to the matching."""

import torch

from medmllm.data.packing import interchangeable


def test_samples_that_share_an_image_or_a_caption_are_one_group():
    images, captions = torch.tensor([1, 1, 2, 3, 4]), torch.tensor([10, 11, 11, 12, 12])
    assert interchangeable(torch.stack([images, captions], 1)).tolist() == [0, 0, 0, 3, 3]


def test_all_different_samples_stay_apart_and_groups_stay_as_they_are():
    marks = torch.stack([torch.arange(5), torch.arange(5) + 9], 1)
    assert len(set(interchangeable(marks).tolist())) == 5
    assert interchangeable(torch.tensor([7, 7, 3])).tolist() == [7, 7, 3]

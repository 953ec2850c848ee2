from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from medmllm.data.batches import TOGETHER, Reader, Sampler, step_generator
from medmllm.model.manner import image_processor


def test_an_epoch_holds_every_record_once():
    sampler = Sampler(size=12, batch_size=4, seed=3)
    assert sorted(i for step in range(3) for i in sampler.indices(step)) == list(range(12))


def test_epochs_and_seeds_differ_and_steps_repeat():
    sampler = Sampler(size=100, batch_size=50, seed=3)
    assert sampler.indices(0) == sampler.indices(0)
    assert sampler.indices(0) != sampler.indices(2)
    assert sampler.indices(0) != Sampler(size=100, batch_size=50, seed=4).indices(0)


def test_generators_of_neighbouring_seeds_and_steps_differ():
    first = {step_generator(seed, step).initial_seed() for seed in range(20) for step in range(50)}
    assert len(first) == 1000


def grouped(size, batch_size, seed=3):
    lengths = torch.randint(20, 800, (size,), generator=torch.Generator().manual_seed(0))
    return Sampler(size, batch_size, seed, lengths), lengths


def test_grouped_epochs_hold_every_record_once_and_repeat():
    sampler, lengths = grouped(size=40 * TOGETHER + 3, batch_size=4)
    epochs = [
        [i for step in range(sampler.batches) for i in sampler.indices(e * sampler.batches + step)] for e in (0, 1)
    ]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == 40 * TOGETHER
    assert epochs[0] != epochs[1]
    again = Sampler(sampler.size, sampler.batch_size, sampler.seed, lengths)
    assert again.indices(17) == sampler.indices(17)


def test_records_of_a_grouped_batch_are_alike_and_batches_come_in_no_order():
    sampler, lengths = grouped(size=40 * TOGETHER, batch_size=8)
    plain = Sampler(sampler.size, sampler.batch_size, sampler.seed)
    spread = [
        sum(int(lengths[s.indices(step)].max() - lengths[s.indices(step)].min()) for step in range(100))
        for s in (sampler, plain)
    ]
    assert spread[0] < spread[1] / 10
    means = [float(lengths[sampler.indices(step)].float().mean()) for step in range(sampler.batches)]
    assert means != sorted(means)
    assert abs(sum(means[: len(means) // 2]) / sum(means) - 0.5) < 0.1


class Drawn:
    """A source whose images are noise of a different shape each."""

    def image(self, number):
        pixels = np.random.default_rng(number).integers(0, 256, (40 + 7 * number, 90 - 5 * number, 3), dtype=np.uint8)
        return Image.fromarray(pixels)


@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
@pytest.mark.parametrize("statistics", [{}, {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.5, 1.0]}])
def test_pixels_are_those_of_the_saved_processor_to_the_digit(fit, statistics):
    processor = SimpleNamespace(image_processor=image_processor(fit, 56, statistics))
    pixels = Reader(Drawn(), None, processor).pixels(range(5))
    images = [Drawn().image(number) for number in range(5)]
    assert torch.equal(pixels, processor.image_processor(images, return_tensors="pt").pixel_values)

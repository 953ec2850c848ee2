"""Shares and passes: everything is read once, evenly, within the limits."""

import threading
from itertools import pairwise
from statistics import mean

import pytest
import torch

from medmllm.bench.sizes import SIZES, draw_lengths, tokens_of_image
from medmllm.build import build_job
from medmllm.data.batches import Sampler
from medmllm.data.conversation import Encoder
from medmllm.distributed import Process
from medmllm.errors import DataError
from medmllm.training.loader import Steps, cut, deal, one_ahead, texts_of

LENGTHS = [90, 10, 40, 70, 20, 60, 30, 80]


def test_processes_share_a_batch_equally_and_evenly():
    shares = [deal(LENGTHS, Process(rank, 4)) for rank in range(4)]
    assert sorted(i for share in shares for i in share) == list(range(8))
    assert {len(share) for share in shares} == {2}
    assert max(sum(LENGTHS[i] for i in share) for share in shares) <= 110


@pytest.mark.parametrize(
    ("most", "tokens", "count"), [(None, None, 1), (3, None, 3), (None, 150, 3), (2, 1000, 4), (None, 50, 8)]
)
def test_passes_keep_their_limits(most, tokens, count):
    passes = cut(LENGTHS, most, tokens)
    assert sorted(i for part in passes for i in part) == list(range(8))
    assert len(passes) >= count
    for part in passes:
        assert len(part) <= (most or 8)
        assert len(part) == 1 or sum(LENGTHS[i] for i in part) <= (tokens or sum(LENGTHS))


def test_the_batch_of_a_step_is_the_same_for_any_number_of_processes(tiny):
    job = build_job(tiny(train={"batch_size": 8, "steps": 20}))
    whole = Steps(job, Process(0, 1))[10]
    halves = [Steps(job, Process(rank, 2))[10] for rank in range(2)]
    found = sorted(place for passes in halves for batch in passes for place in batch.places.tolist())
    assert found == whole[0].places.tolist() == list(range(8))
    assert sum(batch.learnt_tokens() for passes in halves for batch in passes).tolist() == (
        whole[0].learnt_tokens().tolist()
    )


def test_grouping_by_length_puts_records_of_like_length_into_a_step(drawn, tiny):
    job = build_job(tiny(train={"batch_size": 4, "group_by_length": True}))
    steps = Steps(job, Process())
    count = len(job.records) // 4
    spans = [[job.records[i].letters for i in steps.order.indices(step)] for step in range(count)]
    ranked = sorted(sorted(span) for span in spans)
    assert all(one[-1] <= other[0] for one, other in pairwise(ranked))


def test_grouping_evens_processes_and_not_steps():
    """The figures in the words of `Sampler`: 50,000 texts as they are drawn for benchmarks, 64 a step, 8 processes."""
    size = SIZES["7b"]
    drawn = [2 * n.answer + n.question + n.caption + tokens_of_image(size) for n in draw_lengths(50_000, size, seed=0)]
    fullest, largest = [], []
    for lengths in (None, torch.tensor(drawn)):
        sampler = Sampler(len(drawn), 64, 0, lengths)
        steps = [[drawn[i] for i in sampler.indices(step)] for step in range(0, sampler.batches, 2)]
        shares = [[sum(step[i] for i in deal(step, Process(rank, 8))) for rank in range(8)] for step in steps]
        fullest.append(mean(max(share) / mean(share) for share in shares))
        largest.append(max(map(sum, steps)) / mean(map(sum, steps)))
    assert fullest == pytest.approx([1.05, 1.00], abs=0.006)
    assert largest == pytest.approx([1.15, 2.4], rel=0.04)


def test_only_aligning_steps_read_texts(tiny):
    job = build_job(tiny(align={"every": 2}))
    first = Steps(job, Process()).plan[1].first
    steps = Steps(job, Process())
    assert steps[0][0].texts == ()
    assert steps[first][0].texts == ("answer", "caption")
    assert steps[first + 1][0].texts == ()
    assert texts_of(tiny(align={"view": "lm_leaky"})) == ("caption",)


@pytest.mark.parametrize("engine", [{}, {"micro_batch": 2}])
def test_a_record_is_encoded_once_a_step(tiny, monkeypatch, engine):
    steps = Steps(build_job(tiny(train={"batch_size": 8, "caption_weight": 0.5}, engine=engine)), Process())
    plain = steps[3]
    read = []
    for name in ("conversation", "captioning", "text"):
        true = getattr(Encoder, name)
        monkeypatch.setattr(Encoder, name, lambda self, text, true=true: read.append(text) or true(self, text))
    again = steps[3]
    assert len(read) == 8 * 4  # conversation, captioning, and both texts
    assert all(torch.equal(a.input_ids, b.input_ids) for a, b in zip(plain, again, strict=True))


def test_a_batch_is_read_while_the_one_before_it_is_used():
    made, ahead = [], threading.Event()

    def numbers():
        for number in range(3):
            made.append(number)
            if number == 1:
                ahead.set()
            yield number

    batches = one_ahead(numbers())
    assert next(batches) == 0
    assert ahead.wait(10)
    assert [*batches] == [1, 2] == made[1:]


def test_what_fails_while_reading_ahead_fails_in_its_own_step():
    def numbers():
        yield 0
        raise DataError("a damaged image")

    batches = one_ahead(numbers())
    assert next(batches) == 0
    with pytest.raises(DataError, match="damaged"):
        next(batches)

"""Shares and passes: everything is read once, evenly, within the limits."""

import pytest

from medmllm.build import build
from medmllm.distributed import Process
from medmllm.loader import Steps, cut, deal, texts_of

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
    job = build(tiny(train={"batch_size": 8, "steps": 20}))
    whole = Steps(job, Process(0, 1))[10]
    halves = [Steps(job, Process(rank, 2))[10] for rank in range(2)]
    found = sorted(place for passes in halves for batch in passes for place in batch.places.tolist())
    assert found == whole[0].places.tolist() == list(range(8))
    assert sum(batch.learnt_tokens() for passes in halves for batch in passes).tolist() == (
        whole[0].learnt_tokens().tolist()
    )


def test_only_aligning_steps_read_texts(tiny):
    job = build(tiny(align={"every": 2}))
    first = Steps(job, Process()).plan[1].first
    steps = Steps(job, Process())
    assert steps[0][0].texts == ()
    assert steps[first][0].texts == ("answer", "caption")
    assert steps[first + 1][0].texts == ()
    assert texts_of(tiny(align={"view": "lm_leaky"})) == ("caption",)

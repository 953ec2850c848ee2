import pytest

from medmllm.settings.schema import AlignConfig, StageConfig, TrainConfig
from medmllm.settings.stages import alignment_weight, learning_rate, stage_at, stages


@pytest.mark.parametrize("steps", [1, 2, 5, 7, 10, 333, 600])
def test_stages_cover_every_step_once(steps):
    plan = stages(TrainConfig(steps=steps))
    assert [step for stage in plan for step in range(stage.first, stage.end)] == list(range(steps))


def test_stages_keep_their_proportion():
    projector, full = stages(TrainConfig(steps=600))
    assert (projector.end - projector.first, full.end - full.first) == (60, 540)
    assert stage_at((projector, full), 59) == projector
    assert stage_at((projector, full), 60) == full


def test_rate_warms_up_then_falls_to_zero():
    train = TrainConfig(
        steps=100, lr=1.0, warmup=0.1, stages=(StageConfig(name="all", share=1, trains=("projector",)),)
    )
    (stage,) = stages(train)
    rates = [learning_rate(train, stage, step) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert (rates[10], rates[55]) == (pytest.approx(1.0), pytest.approx(0.5))
    assert rates[-1] < 1e-3
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_stage_has_its_own_peak():
    stage = StageConfig(name="all", share=1, trains=("projector",), lr=3.0)
    train = TrainConfig(steps=10, lr=1.0, warmup=0.0, stages=(stage,))
    assert learning_rate(train, stages(train)[0], 0) == 3.0


@pytest.fixture
def aligning():
    plan = (StageConfig(name="before", share=1, trains=("projector",), align=False),
            StageConfig(name="all", share=1, trains=("projector",)))  # fmt: skip
    return stages(TrainConfig(steps=40, stages=plan))


def weights(plan, **align):
    config = AlignConfig(weight=3.0, **align)
    return [alignment_weight(config, stage_at(plan, step), step) for step in range(40)]


def test_alpha_is_constant_by_default_in_stages_that_align(aligning):
    assert weights(aligning) == [0.0] * 20 + [3.0] * 20


def test_alpha_rises_then_falls_as_its_schedule_says(aligning):
    constant = weights(aligning, warmup=0.2)[20:]
    assert constant == pytest.approx([0.75, 1.5, 2.25] + [3.0] * 17)
    linear = weights(aligning, schedule="linear")[20:]
    assert linear == pytest.approx([3.0 * (20 - i) / 20 for i in range(20)])
    cosine = weights(aligning, schedule="cosine", warmup=0.2)[20:]
    assert (cosine[1], cosine[4], cosine[12]) == (1.5, 3.0, pytest.approx(1.5))
    assert 0 < cosine[-1] < 0.05


def test_alpha_is_zero_between_alignments(aligning):
    assert weights(aligning, every=4)[20:] == [3.0, 0, 0, 0] * 5

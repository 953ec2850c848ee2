"""Every preset loads, can be planned, and says in its comment what the plan says."""

import re

import pytest

from exgra.screen import duration
from medmllm.planning.plan import check_config, plan
from medmllm.settings.load import load_config, presets

LARGE = [name for name in presets() if "7b" in name or name.startswith("finetune")]


def comment(name):
    return presets()[name].read_text(encoding="utf-8")


def launch(name):
    return re.search(r"^# Launch: (.*)$", comment(name), re.M)[1].split()


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_a_configuration_that_can_be(name):
    config = load_config(name)
    assert config.name == name
    check_config(config, packages=False)


@pytest.mark.parametrize("name", [*LARGE, "smollm2"])
def test_a_launch_line_is_that_of_the_preset(name):
    words = launch(name)
    assert words[:3] == ["exgra", "train", name]
    settings = [word for word in words if "=" in word]
    load_config(name, settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LARGE, "smollm2"])
def test_the_figures_in_the_comment_are_the_plans(name):
    words, told = launch(name), re.search(r"^# Computed: (.*)\.$", comment(name), re.M)[1]
    gpus = int(words[words.index("--nproc") + 1]) if "--nproc" in words else 1
    card = re.search(r"x ([\w-]+),", told)
    found = plan(load_config(name), gpus=gpus, card=card and card[1])
    if card is None:
        assert told == f"{found.memory_gb:.1f} GB"
    else:
        hours = sum(cost["hours"] for cost in found.costs)
        assert told == f"{found.memory_gb:.0f} GB on each of {gpus} x {card[1]}, {duration(3600 * hours)}"


def test_the_arms_of_stage_two_differ_in_the_alignment_alone():
    whole = load_config("stage2-7b")
    for name in ("plain", "infonce", "siglip", "plot", "vlap"):
        other = load_config(f"stage2-7b-{name}")
        assert other.model_copy(update={"name": whole.name, "align": whole.align}) == whole
    for share in (10, 40):
        other = load_config(f"stage2-7b-{share}pct")
        assert other.train.steps == pytest.approx(whole.train.steps * share / 100, abs=1)

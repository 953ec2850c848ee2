"""The planned cost of a run, against arithmetic, against what is built, and at 7B."""

import json
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from medmllm.build import build_job
from medmllm.data.batches import step_generator
from medmllm.errors import ConfigError, DataError
from medmllm.model.parts import train_only
from medmllm.planning.cost import CARDS, Lengths, costs, disk, meta_model
from medmllm.planning.plan import plan
from medmllm.settings.load import load_config
from medmllm.training.trainer import train

SEVEN = {
    "data": {"source": "nowhere.json"},
    "model": {
        "dtype": "bf16",
        "vision": {"pretrained": "openai/clip-vit-large-patch14", "feature_layer": -2},
        "language": {"pretrained": "huggyllama/llama-7b", "max_length": 2048},
    },
    "train": {
        "steps": 1,
        "batch_size": 8,
        "stages": [{"name": "two", "share": 1, "trains": ["projector", "language"]}],
    },
}
MEASURED = """
import json, resource, sys, time
begin = time.process_time()
from medmllm.settings.schema import Config
from medmllm.planning.plan import plan
found = plan(Config.model_validate(json.loads(sys.argv[1])), gpus=4)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"plan": found.to_dict(), "seconds": time.process_time() - begin, "bytes": memory}))
"""


def seven(**sections):
    return json.dumps({**SEVEN, **sections})


def measured(text):
    done = subprocess.run([sys.executable, "-c", MEASURED, text], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_plan_of_7b_needs_neither_time_nor_memory_and_counts_what_arithmetic_says():
    found = measured(seven())
    assert found["seconds"] < 60
    assert found["bytes"] < 4e9
    (stage,) = found["plan"]["costs"]
    trunk, head, tower = 32 * (4 * 4096**2 + 3 * 4096 * 11008), 4096 * 32002, 24 * 12 * 1024**2
    read, learnt, image = 256 + 60 + 200 + 200 + 300, 200, 257
    causal = 3 * 2 * 32 * 4096 * (516**2 + 200**2 + 300**2)
    projector = 6 * 256 * (1024 * 4096 + 4096**2)
    by_hand = 6 * trunk * read + 6 * head * learnt + 2 * tower * image * 23 / 24 + causal + projector
    assert stage["tokens"] == 8 * read
    assert stage["flops"] / 8 == pytest.approx(by_hand, rel=0.01)
    assert stage["flops"] / 8 == pytest.approx(6 * trunk * read, rel=0.03)
    assert found["plan"]["parameters"] == pytest.approx(6.738e9 + 303e6 + 21e6, rel=0.001)


@pytest.mark.slow
def test_ratios_to_the_language_model_alone_are_those_of_the_method():
    """Relative to the conversation alone, at 7B: all three sequences, and texts pooled at layer 16 of 32."""
    from medmllm.settings.schema import Config

    for side, three, half in ((224, 1.95, 1.48), (336, 1.58, 1.29)):
        model = {**SEVEN["model"], "vision": {**SEVEN["model"]["vision"], "image_size": side}}
        aligns = {"alone": {"weight": 0}, "three": {}, "half": {"layer": 16}}
        found = {
            name: costs(Config.model_validate({**SEVEN, "model": model, "align": align}))[0].flops
            for name, align in aligns.items()
        }
        assert found["three"] / found["alone"] == pytest.approx(three, rel=0.03)
        assert found["half"] / found["alone"] == pytest.approx(half, rel=0.03)


def test_flops_are_those_of_a_real_step(tiny):
    """torch counts a real step's multiplications; every segment's length is known there."""
    config = tiny(train={"batch_size": 4, "stages": [{"name": "all", "share": 1, "trains": ["projector", "language"]}]})
    job = build_job(config)
    train_only(job.model.packed.llava, ("projector", "language"))
    records = job.records[:4]
    batch = job.reader.pack(records)
    with FlopCounterMode(display=False) as counter:
        job.model(batch, step_generator(0, 0)).loss.backward()
    lengths = Lengths(*mean_lengths(job, records))
    found = costs(config, lengths=lengths)[0].flops
    assert found == pytest.approx(
        counter.get_total_flops(), rel=0.25
    )  # attention is a tenth here, and whole in torch's


def mean_lengths(job, records):
    encoder = job.reader.encoder
    answer = round(sum(len(encoder.text(r.sentence)) for r in records) / len(records))
    caption = round(sum(len(encoder.text(r.caption)) for r in records) / len(records))
    whole = round(sum(len(encoder.conversation(r)) for r in records) / len(records))
    return whole - encoder.image_tokens - answer, answer, caption


def test_what_learns_costs_more_than_what_is_frozen(tiny):
    stages = [{"name": n, "share": 1, "trains": t} for n, t in (("p", ["projector"]), ("l", ["projector", "language"]))]
    projector, language = costs(tiny(train={"stages": stages}), card="h100")
    assert projector.flops < language.flops
    assert projector.memory["moments"] < language.memory["moments"]
    assert projector.trained < language.trained
    assert projector.hours > 0


def test_checkpointing_trades_memory_for_operations(tiny):
    plain, saved = (costs(tiny(train={"gradient_checkpointing": on, "steps": 1}))[0] for on in (False, True))
    assert saved.flops > plain.flops
    big = {"hidden_size": 64, "intermediate_size": 128, "layers": 8, "heads": 2, "vocab_size": 300}
    model = {"vision": {"image_size": 28, "patch_size": 14}, "language": big}
    plain, saved = (costs(tiny(model=model, train={"gradient_checkpointing": on}))[0] for on in (False, True))
    assert saved.memory["activations"] < plain.memory["activations"] / 2


def test_shards_share_what_replicas_hold_each(tiny):
    replica, shard = (costs(tiny(engine={"strategy": kind}), gpus=2)[-1].memory for kind in ("ddp", "fsdp"))
    assert shard["moments"] == pytest.approx(replica["moments"] / 2)
    assert shard["gradients"] == pytest.approx(replica["gradients"] / 2)


def test_the_folder_holds_moments_of_what_learns_alone():
    """By hand at 7B: a projector beside frozen parts in half precision, all but the tower, and adapters."""
    tower, projector, language = 303_179_776, 1024 * 4096 + 4096**2 + 2 * 4096, 6_738_415_616 + 2 * 2 * 4096
    alignment, frozen = 2 * (2 * 4096**2 + 4096), 2 * (tower + language)
    lora = load_config("stage2-7b-lora")
    adapters = lora.model.lora.rank * 32 * (4 * 2 * 4096 + 3 * (4096 + 11008))

    def by_hand(weights, learnt, saved):
        return 3 * (weights + 2 * 4 * learnt) + saved

    wide = 4 * (projector + alignment)
    first = by_hand(frozen + wide, projector, frozen + wide)
    assert disk(load_config("stage1-7b", ["align.weight=0"])) == pytest.approx(first, rel=0.002)
    whole = 4 * (tower + projector + language + alignment)
    second = by_hand(whole, projector + language + alignment, whole)
    assert disk(load_config("stage2-7b")) == pytest.approx(second, rel=0.002)
    third = by_hand(frozen + wide + 4 * adapters, adapters + projector + alignment, 4 * (adapters + projector))
    assert disk(lora) == pytest.approx(third, rel=0.002)


def test_the_folder_of_a_run_is_as_large_as_foretold(tiny, tmp_path):
    big = {"hidden_size": 128, "intermediate_size": 256, "layers": 2, "heads": 2, "vocab_size": 300, "max_length": 256}
    model = {
        "vision": {"image_size": 28, "patch_size": 14, "hidden_size": 16, "layers": 1, "heads": 2},
        "language": big,
    }
    for parts in (("projector",), ("projector", "language")):
        stages = [{"name": "only", "share": 1, "trains": parts}]
        config = tiny(model=model, train={"steps": 2, "save_every": 1, "eval_every": 2, "stages": stages})
        train(config, tmp_path / parts[-1])
        steps = [*(tmp_path / parts[-1] / "checkpoints").iterdir()]
        assert len(steps) == 2
        # the manifest and the copies of the run's small files count with all else that is small
        small = {"manifest.json", *(file.name for file in steps[0].glob("copy-of-*"))}
        held = sum(file.stat().st_size for file in steps[0].iterdir() if file.name not in small)
        saved = sum(file.stat().st_size for file in (tmp_path / parts[-1] / "model").glob("*.safetensors"))
        assert 3 * held + saved == pytest.approx(disk(config) - 4 * 2**20, rel=0.05)


def test_adapters_are_counted_as_they_are_built(tiny, tmp_path):
    pytest.importorskip("peft")
    from medmllm.model.assemble import assemble
    from medmllm.model.vocabulary import make_tokenizer

    config = tiny(model={"lora": {"rank": 3}, "language": {"vocab_size": 300, "layers": 2}}).model
    built = assemble(config, make_tokenizer(config, ()), seed=0)
    planned = meta_model(config)
    for model in (built, planned):
        train_only(model, ("projector", "language"))
    counts = [sum(p.numel() for p in model.parameters() if p.requires_grad) for model in (built, planned)]
    assert counts[0] == counts[1]


def test_a_plan_without_its_data_says_so(tiny, tmp_path):
    found = plan(tiny(data={"source": str(tmp_path / "later.json")}))
    assert found.missing == str(tmp_path / "later.json")
    assert found.rows == {}
    assert found.costs[0]["tokens"] > 0


def test_data_that_must_be_here_or_has_a_name_is_not_assumed(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("EXGRA_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        plan(tiny(data={"source": str(tmp_path / "later.json")}), data_here=True)
    with pytest.raises(DataError, match="not made yet"):
        plan(tiny(data={"source": "registry"}))


def test_an_unknown_card_lists_the_known(tiny):
    with pytest.raises(ConfigError, match="no card 'b9'") as caught:
        plan(tiny(), card="b9")
    assert "a100-80gb" in caught.value.hint
    assert plan(tiny(), card="h200").card == "h200"
    assert all(card.memory > 0 for card in CARDS.values())


def test_nothing_of_a_plan_is_allocated(tiny):
    assert {p.device for p in meta_model(tiny().model).parameters()} == {torch.device("meta")}


def test_only_texts_that_are_aligned_are_counted():
    from medmllm.settings.load import load_config

    def tokens(*words):
        return costs(load_config("demo", words))[-1].tokens

    both, answer, caption = (tokens(f"align.texts=[{names}]") for names in ("answer,caption", "answer", "caption"))
    none = tokens("align.weight=0")
    assert both > caption > none
    assert both > answer > none
    assert both - none == (answer - none) + (caption - none)

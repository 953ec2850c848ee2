"""The CPU's tests hold on a GPU too, in every precision and with every way to save memory or time."""

from pathlib import Path

import processes
import pytest
import torch

from medmllm.bench.step import Contender, Setup
from medmllm.model import attention
from medmllm.model.attention import segment_attention
from medmllm.run.checkpoint import steps
from medmllm.run.folder import METRICS, RunFolder
from medmllm.settings.load import dump
from medmllm.training.trainer import train

pytestmark = pytest.mark.gpu
HERE = Path(__file__).parent
STAGES = [{"name": "all", "share": 1, "trains": ["vision", "projector", "language"]}]
# Heads of 16, as torch's kernels want a multiple of 8.
WIDE = {
    "vision": {"image_size": 28, "patch_size": 14, "hidden_size": 32, "layers": 1, "heads": 2},
    "language": {
        "hidden_size": 32, "intermediate_size": 64, "layers": 2, "heads": 2, "vocab_size": 300, "max_length": 256,
    },
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_attention_equals_single_precision_segment_by_segment(dtype, key_heads):
    generator = torch.Generator().manual_seed(0)
    bounds = torch.tensor([0, 30, 81, 82, 200], dtype=torch.int32, device="cuda")
    rows = [torch.randn(1, heads, 200, 16, generator=generator).to(dtype) for heads in (4, key_heads, key_heads)]
    half, wide = ([x.to("cuda", kind, copy=True).requires_grad_() for x in rows] for kind in (dtype, torch.float32))
    weights = torch.randn(1, 200, 4, 16, generator=generator).to("cuda", dtype)
    for row in (half, wide):
        found, _ = segment_attention(torch.nn.Identity(), *row, None, bounds=bounds, longest=118)
        (found * weights.to(found.dtype)).sum().backward()
        row.append(found)
    for one, other in zip([half[3], *(x.grad for x in half[:3])], [wide[3], *(x.grad for x in wide[:3])], strict=True):
        assert distance(one, other) < 1e-2


def distance(one, other):
    return float((one.detach().float() - other.detach().float()).norm() / other.detach().float().norm())


def test_mixed_precision_attends_by_the_fast_kernel(tiny, tmp_path, monkeypatch):
    calls = []
    fast = attention._on_gpu
    monkeypatch.setattr(attention, "_on_gpu", lambda *given: calls.append(given[0].dtype) or fast(*given))
    train(tiny(device="cuda", model=WIDE, train={"precision": "bf16", "steps": 2}), tmp_path / "run")
    assert set(calls) == {torch.bfloat16}


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("variant", ["packed_lm", "packed_aligned", "caption_no_grad", "three_passes"])
def test_packed_equals_padded_within_bfloat16(variant, checkpointing):
    setup = Setup("small", batch=8, steps=1, warmup=0, checkpointing=checkpointing)
    contender = Contender(setup, torch.device("cuda"))
    plain = float(contender.padded("plain_padded").detach())
    contender.aligned = lambda views: torch.zeros((), device="cuda")
    assert float(contender.loss_of(variant).detach()) == pytest.approx(plain, rel=5e-3)
    assert contender.step(variant) == pytest.approx(plain, rel=5e-3)


@pytest.fixture(scope="module")
def expected(tiny, tmp_path_factory):
    """Gradients of a step on the CPU in float64, and the folder with the configurations."""
    folder = tmp_path_factory.mktemp("gradients")
    sections = {"train": {"stages": STAGES, "caption_weight": 0.5, "batch_size": 12}, "align": {"weight": 2.0}}
    for device in ("cpu", "cuda"):
        (folder / f"{device}.yaml").write_text(dump(tiny(model=WIDE, device=device, **sections)))
    return folder, gradients(folder, "cpu", "plain")["plain"]


def gradients(folder, device, names):
    out = folder / f"{device}.pt"
    program = HERE / "gradients.py"
    codes, _, errors = processes.finish(processes.start(1, program, folder / f"{device}.yaml", out, names))
    assert codes == [0], errors
    return torch.load(out, weights_only=True, map_location="cpu")


def test_gradients_equal_those_of_the_cpu_alone_in_passes_and_in_shards(expected):
    folder, plain = expected
    found = gradients(folder, "cuda", "plain,samples,fsdp,fsdp-samples")
    for way in found.values():
        assert way.keys() == plain.keys()
        for name, value in plain.items():
            if name != "passes":
                # Losses and views are taken in float32, where the order of a sum shows.
                torch.testing.assert_close(way[name], value, rtol=1e-4, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


WAYS = {
    "fp32": {},
    "bf16": {"train": {"precision": "bf16"}},
    "fp16": {"train": {"precision": "fp16"}},
    "recomputed": {"train": {"precision": "bf16", "gradient_checkpointing": True}},
    "in passes": {"train": {"precision": "fp16"}, "engine": {"micro_batch": 3}},
    "compiled": {"train": {"precision": "bf16"}, "engine": {"compile": True}},
    "workers": {"engine": {"workers": 2}},
    "plot": {"align": {"loss": "plot"}},
    "vlap": {"align": {"loss": "vlap"}},
    "sinkhorn": {"align": {"solver": "sinkhorn", "estimator": "implicit"}},
    "faq": {"align": {"solver": "faq"}},
}


@pytest.mark.parametrize("way", WAYS)
def test_training_runs_and_its_losses_are_those_of_the_cpu(tiny, tmp_path, way):
    sections = WAYS[way]
    figures = {}
    for device in ("cuda", "cpu"):
        changed = sections if device == "cuda" else {"align": sections.get("align", {})}
        train(tiny(model=WIDE, device=device, **changed), tmp_path / device)
        lines = [line for line in RunFolder(tmp_path / device).lines(METRICS) if "loss" in line]
        figures[device] = [line["loss_lm"] for line in lines]
    assert RunFolder(tmp_path / "cuda").status() == "done"
    assert figures["cuda"] == pytest.approx(figures["cpu"], rel=3e-2)


PROGRAM = """
import sys
from pathlib import Path
from medmllm.settings.load import load_config
from medmllm.training.trainer import train
train(load_config(sys.argv[1]), Path(sys.argv[2]), resume=len(sys.argv) > 3)
"""


RESUMED = {
    "alone": {},
    "half": {"train": {"precision": "fp16"}},
    "shards": {"train": {"precision": "bf16"}, "engine": {"strategy": "fsdp"}},
    "shards on the host": {"train": {"precision": "bf16"}, "engine": {"strategy": "fsdp", "offload": True}},
}


@pytest.mark.parametrize("way", RESUMED)
def test_a_run_goes_on_from_its_checkpoint(tiny, tmp_path, way):
    (tmp_path / "config.yaml").write_text(dump(tiny(model=WIDE, device="cuda", **RESUMED[way])))
    run = RunFolder(tmp_path / "run")
    carry_out(tmp_path / "config.yaml", run.path)
    first = [line["loss"] for line in run.lines(METRICS) if "loss" in line]
    (steps(run.path / "checkpoints")[-1] / "state.json").unlink()  # as if killed before it was complete
    run.set_status("interrupted")
    carry_out(tmp_path / "config.yaml", run.path, "resume")
    second = [line["loss"] for line in run.lines(METRICS) if "loss" in line]
    assert run.status() == "done"
    assert "resumed after step 4" in (run.path / "train.log").read_text()
    assert second == pytest.approx(first, rel=1e-3)


def carry_out(*command):
    codes, _, errors = processes.finish(processes.start(1, "-c", PROGRAM, *command))
    assert codes == [0], errors

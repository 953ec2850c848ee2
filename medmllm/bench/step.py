"""The variants of a training step, measured side by side.

Every variant learns from the same samples with the same weights; those that align take the same alignment loss. A
variant's step is forward, backward and the update of AdamW.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor

from medmllm.bench import padded
from medmllm.bench.flops import PEAKS, useful_flops
from medmllm.bench.sizes import SIZES, batch, build_llava, draw_lengths
from medmllm.bench.tables import PADDED, ratios
from medmllm.data.packing import PackedBatch
from medmllm.model.aligned import AlignedLlava, StepOutput, Views, training_step
from medmllm.model.alignment import build_loss, solver_time
from medmllm.model.assemble import recompute_activations
from medmllm.model.attention import padded_attention
from medmllm.model.packed import PackedLlava
from medmllm.settings.schema import Config
from medmllm.training.memory import keep_freed_memory
from medmllm.training.parallel import compile_layers

VARIANTS = {
    "plain_padded": "LLaVA's step: padded conversations, logits at every place",
    "three_passes": "as released: the same, and padded passes over answers and captions",
    "packed_lm": "packed conversations, head on learnt tokens only",
    "packed_aligned": "one packed pass with both texts: the default",
    "caption_no_grad": "the same, captions read without gradient",
    "embed": "text views of word embeddings",
    "lm_leaky": "the answer's view out of the conversation: leaks",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "caption_no_grad": {"caption_grad": False},
    "embed": {"view": "embed"},
    "lm_leaky": {"view": "lm_leaky"},
}

TEXTS_OF: dict[str, tuple[str, ...]] = {"plain_padded": (), "packed_lm": (), "lm_leaky": ("caption",)}
UNALIGNED = ("plain_padded", "packed_lm")


@dataclass(frozen=True)
class Setup:
    """The measurement: a size by name, and how it is timed."""

    size: str = "small"
    batch: int = 16
    steps: int = 5
    warmup: int = 1
    seed: int = 0
    checkpointing: bool = False
    compile: bool = False
    solver: str = "hungarian"
    peak: float | None = None
    images: int = 1
    variants: tuple[str, ...] = tuple(VARIANTS)


@dataclass(frozen=True)
class Row:
    """One variant's figures.

    Attributes:
        variant: its name.
        seconds: median time of a step on the clock.
        process_seconds: median processor time of a step.
        samples_per_second: samples of the median step.
        tokens: tokens that the language model reads, padding included.
        useful_flops: floating-point operations of what must be computed, without padding and recomputation.
        mfu: useful operations per second over the device's peak; on a CPU both by processor time.
        peak_gib: most memory that tensors took on a GPU; None on a CPU.
        align_share: share of graph, solver and their gradient in the step.
        solver_share: share of the solver alone.
        loss: after the last step.
        total: time of all steps: of processors on a CPU, on the clock on a GPU.
    """

    variant: str
    seconds: float
    process_seconds: float
    samples_per_second: float
    tokens: int
    useful_flops: float
    mfu: float
    peak_gib: float | None
    align_share: float
    solver_share: float
    loss: float
    total: float


class Contender:
    """The model, a batch of its own for every turn, and every way to learn from it."""

    def __init__(self, setup: Setup, device: torch.device) -> None:
        self.setup, self.size, self.device = setup, SIZES[setup.size], device
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        torch.manual_seed(setup.seed)
        self.llava = build_llava(self.size, device, self.dtype)
        if setup.checkpointing:
            recompute_activations(self.llava)
        turns = range(setup.seed, setup.seed + setup.warmup + setup.steps)
        self.lengths = [draw_lengths(setup.batch, self.size, seed, setup.images) for seed in turns]
        drawn = zip(self.lengths, turns, strict=True)
        self.batches = [batch(lengths, self.size, seed, self.dtype).to(device) for lengths, seed in drawn]
        self.batch = self.batches[0]
        config = Config.model_validate({"align": {"solver": setup.solver}})
        loss = build_loss(config.align, self.size.language[0], seed=setup.seed).to(device)
        self.model = AlignedLlava(PackedLlava(self.llava), loss, config)
        if setup.compile:
            compile_layers(self.model.packed)
        self.optimizer = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad], lr=1e-5, fused=device.type == "cuda"
        )

    def step(self, variant: str) -> StepOutput:
        """One step, and its losses."""
        # The backward pass too: recomputed layers must find the attention of their forward pass.
        with padded_attention(self.llava.model.language_model) if variant in PADDED else nullcontext():
            out = self.losses(variant, scale=lambda loss: loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return out

    def losses(self, variant: str, scale: Callable[[Tensor], Tensor] | None = None) -> StepOutput:
        """The trainer's own step over what the variant reads; without `scale` no gradient is taken."""
        packed = self.model.packed
        chosen = {"view": "standalone", "caption_grad": True, **SETTINGS.get(variant, {})}
        packed.view, packed.caption_grad = chosen["view"], chosen["caption_grad"]
        part = only(self.batch, TEXTS_OF.get(variant, self.batch.texts))
        read = partial(padded.read_padded, self.llava, part) if variant in PADDED else None
        weight = 0.0 if variant in UNALIGNED else 1.0
        noise = torch.Generator().manual_seed(0)
        return training_step(self.model, [part], weight, noise, read=read, scale=scale)

    def align_seconds(self, out: StepOutput) -> float:
        """Seconds that the alignment of a step's views and their gradient take by themselves."""
        if out.alignment is None:
            return 0.0
        views = Views(out.views, {}, self.batch.groups, self.batch.captioned, None).leaves()
        self.synchronize()
        begin = time.perf_counter()
        found = self.model.align(views, torch.Generator().manual_seed(0))
        assert found is not None
        found.loss.backward()
        self.synchronize()
        self.optimizer.zero_grad()
        return time.perf_counter() - begin

    def synchronize(self) -> None:
        synchronize(self.device)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def device_name(device: torch.device) -> str:
    """The GPU's name, or how many threads of the processor are used."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def only(batch: PackedBatch, texts: Sequence[str]) -> PackedBatch:
    """The batch with some of its blocks of texts."""
    kept = [*range(len(batch)), *(n for name in texts for n in batch.block(name))]
    rows = [batch.row(range(n, n + 1)) for n in kept]
    lengths = tuple(batch.lengths[n] for n in kept)
    ids = torch.cat([row.input_ids for row in rows], 1)
    bounds = torch.tensor([0, *lengths], device=ids.device).cumsum(0).int()
    end = sum(batch.lengths[: len(batch)])
    labels = torch.full_like(ids, -100)
    labels[:, :end] = batch.labels[:, :end]
    return replace(
        batch, input_ids=ids, position_ids=torch.cat([row.position_ids for row in rows], 1), labels=labels,
        bounds=bounds, lengths=lengths, captioning=torch.zeros_like(ids, dtype=torch.bool), texts=tuple(texts),
    )  # fmt: skip


def measure_steps(
    setup: Setup, device: torch.device, heard: Callable[[Row], None] = lambda row: None
) -> dict[str, Any]:
    """All variants in turns, a step each, so that whatever slows the machine slows all of them; one document.

    Every turn has a batch of its own, the same for all variants: how much is padding differs much from batch to batch.
    """
    if device.type == "cpu":
        keep_freed_memory()
    contender = Contender(setup, device)
    reached = product_rate(device, contender.dtype)
    peak = setup.peak or known_peak(device) or reached
    unlike = unlikeness(contender)
    taken: dict[str, list[tuple[float, ...]]] = {variant: [] for variant in setup.variants}
    for turn in range(setup.warmup + setup.steps):
        contender.batch = contender.batches[turn]
        for variant in setup.variants:
            figures = timed(contender, variant)
            if turn >= setup.warmup:
                taken[variant].append(figures)
    rows = [variant_row(contender, variant, taken[variant], peak) for variant in setup.variants]
    for row in rows:
        heard(row)
    found = [asdict(row) for row in rows]
    return {
        "setup": asdict(setup),
        "device": device_name(device),
        "torch": torch.__version__,
        "dtype": str(contender.dtype).removeprefix("torch."),
        "parameters": sum(p.numel() for p in contender.llava.parameters()),
        "peak_flops": peak,
        "product_flops": reached,
        "packed_from_padded": unlike,
        "rows": found,
        "ratios": ratios(found, "seconds" if device.type == "cuda" else "total"),
    }


def timed(contender: Contender, variant: str) -> tuple[float, ...]:
    """Seconds on the clock, of processors, of the alignment and of its solver, peak memory and loss of one step."""
    gc.collect()
    solver_time(contender.model.alignment)
    if contender.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    contender.synchronize()
    clock, processor = time.perf_counter(), time.process_time()
    out = contender.step(variant)
    contender.synchronize()
    spent = time.perf_counter() - clock, time.process_time() - processor
    memory = torch.cuda.max_memory_allocated() / 2**30 if contender.device.type == "cuda" else float("nan")
    solver = solver_time(contender.model.alignment)["solver_seconds"]
    return *spent, contender.align_seconds(out), solver, memory, float(out.loss.detach())


def variant_row(contender: Contender, variant: str, taken: Sequence[tuple[float, ...]], peak: float) -> Row:
    clock, processor, align, solver, memory, _ = (median(column) for column in zip(*taken, strict=True))
    batches, lengths = contender.batches[-len(taken) :], contender.lengths[-len(taken) :]
    flops = mean(useful_flops(contender.size, drawn, variant) for drawn in lengths)
    return Row(
        variant=variant,
        seconds=clock,
        process_seconds=processor,
        samples_per_second=len(contender.batch) / clock,
        tokens=round(mean(read_tokens(batch, variant) for batch in batches)),
        useful_flops=flops,
        mfu=flops / (clock if contender.device.type == "cuda" else processor) / peak,
        peak_gib=memory if contender.device.type == "cuda" else None,
        align_share=align / clock,
        solver_share=solver / clock,
        total=sum(line[0 if contender.device.type == "cuda" else 1] for line in taken),
        loss=taken[-1][-1],
    )


def read_tokens(batch: PackedBatch, variant: str) -> int:
    """Tokens that the language model reads in a step, padding included."""
    count, blocks = len(batch), {name: [batch.lengths[n] for n in batch.block(name)] for name in batch.texts}
    talks = list(batch.lengths[:count])
    if variant in PADDED:
        parts = [talks, *(blocks.values() if variant == "three_passes" else ())]
        return sum(len(part) * max(part) for part in parts)
    texts = {"packed_lm": (), "embed": (), "lm_leaky": ("caption",)}.get(variant, tuple(blocks))
    return sum(talks) + sum(sum(blocks[name]) for name in texts)


@torch.no_grad()
def unlikeness(contender: Contender) -> float:
    """By which share of it the packed next-token loss differs from the padded one before the first step."""
    padded_loss, packed_loss = (float(contender.losses(v).answer_loss) for v in ("plain_padded", "packed_lm"))
    return abs(packed_loss - padded_loss) / abs(padded_loss)


def known_peak(device: torch.device) -> float | None:
    """The vendor's operations per second of a known GPU."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large product, the best of eight; on a CPU by processor time, of one thread or all."""
    side = 8192 if device.type == "cuda" else 1024
    x = torch.randn(side, side, device=device, dtype=dtype)
    return max(_products(x, time.perf_counter if device.type == "cuda" else time.process_time))


def _products(x: Tensor, now: Callable[[], float]) -> Iterator[float]:
    for _ in range(8):
        begin = now()
        (x @ x)[0, 0].item()
        yield 2 * x.shape[0] ** 3 / (now() - begin)

"""The cost of a run, computed without memory for a weight: parameters, FLOPs of a step, memory of a GPU, hours.

The model is made on torch's meta device, where tensors have shapes and no data, and one sample is sent through it and
back. torch counts the multiplications of its linear layers; those of attention follow from the lengths. Memory and time
are estimates, and say what they assume.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AttentionInterface, LlavaForConditionalGeneration

from medmllm.data.records import Record
from medmllm.errors import ConfigError
from medmllm.model.alignment import build_loss
from medmllm.model.architecture import architecture
from medmllm.model.assemble import recompute_activations
from medmllm.model.dense import tie
from medmllm.model.last_layer import skip_unread
from medmllm.model.lora import PROJECTOR, TARGETS
from medmllm.model.parts import train_only
from medmllm.model.pretrained import DTYPES
from medmllm.model.views import first_layers
from medmllm.run.checkpoint import KEEP
from medmllm.settings.schema import Config, ModelConfig
from medmllm.settings.stages import Stage, stages

GIB = 2**30
CHECKPOINTS = KEEP + 1  # of a run's folder, while a new one is written
SMALL = 4 * 2**20  # bytes of all else in a run's folder
NAME = "counted"


@dataclass(frozen=True)
class Card:
    """A GPU: dense bfloat16 operations a second as its maker states them, and memory in bytes."""

    flops: float
    memory: float


CARDS = {
    "a100-40gb": Card(312e12, 40 * GIB),
    "a100-80gb": Card(312e12, 80 * GIB),
    "a6000": Card(155e12, 48 * GIB),
    "h100": Card(989e12, 80 * GIB),
    "h200": Card(989e12, 141 * GIB),
    "l40s": Card(362e12, 48 * GIB),
    "rtx4090": Card(165e12, 24 * GIB),
}
UTILISATION = 0.45  # share of the stated peak that a well-fed step reaches


@dataclass(frozen=True)
class Lengths:
    """Tokens of a typical sample beside its images, and how many of these it has. The defaults are those of LLaVA-Med's
    instructions."""

    prompt: int = 60
    answer: int = 200
    caption: int = 300
    images: int = 1


def lengths_of(records: Sequence[Record]) -> Lengths:
    """Mean lengths, by four letters a token, over at most 500 records; images rounded up."""
    some = records[:: max(1, len(records) // 500)]

    def mean(texts: Iterable[str]) -> int:
        return max(1, round(sum(map(len, texts)) / 4 / len(some)))

    return Lengths(
        prompt=10 + mean(question for record in some for question, _ in record.turns),
        answer=mean(answer for record in some for _, answer in record.turns),
        caption=mean(record.caption for record in some),
        images=max(1, -(-sum(len(record.images) for record in some) // len(some))),
    )


@dataclass(frozen=True)
class StageCost:
    """One stage on one kind of card.

    Attributes:
        name, steps: as configured.
        trained: parameters that learn, the alignment's included.
        tokens: tokens of a step that the language model reads, images and texts included.
        flops: operations of a step over all processes, recomputed ones included.
        memory: GiB of one GPU by part, at the step's peak.
        seconds: of a step; None where no card is named.
    """

    name: str
    steps: int
    trained: int
    tokens: int
    flops: float
    memory: dict[str, float]
    seconds: float | None

    @property
    def total(self) -> float:
        """GiB of one GPU."""
        return sum(self.memory.values())

    @property
    def hours(self) -> float | None:
        return None if self.seconds is None else self.steps * self.seconds / 3600

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "total": self.total, "hours": self.hours}


def check_card(name: str) -> None:
    """Raise ConfigError unless it is one of `CARDS`."""
    if name not in CARDS:
        raise ConfigError(f"there is no card {name!r}", where="--gpu", hint=f"one of {', '.join(CARDS)}")


def meta_model(config: ModelConfig) -> LlavaForConditionalGeneration:
    """The model without memory for its weights; well-known checkpoints need not be here."""
    with torch.device("meta"):
        llava = LlavaForConditionalGeneration(architecture(config, None, sizes=True))
        tie(llava)
        if config.lora.rank:
            _add_adapters(llava, config.lora.rank)
    llava = llava.to(DTYPES[config.dtype])
    for name, module in llava.named_modules():
        if name.endswith(("lora_A", "lora_B")) or (name.endswith(PROJECTOR) and not config.from_scratch):
            module.float()  # what learns beside a frozen model is kept wide
    return llava


def _add_adapters(llava: nn.Module, rank: int) -> None:
    """Adapters of the right sizes, without peft, which takes seconds to import."""
    import re

    for name, layer in list(llava.named_modules()):
        if re.fullmatch(TARGETS, name):
            above, _, own = name.rpartition(".")
            setattr(llava.get_submodule(above), own, _WithAdapter(layer, rank))


class _WithAdapter(nn.Module):
    def __init__(self, base: Any, rank: int) -> None:
        super().__init__()
        self.base = base
        self.lora_A = nn.Linear(base.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x)
        return out + self.lora_B(self.lora_A(x.to(self.lora_A.weight.dtype))).to(out.dtype)


def costs(config: Config, *, gpus: int = 1, card: str | None = None, lengths: Lengths | None = None) -> list[StageCost]:
    """Every stage of a run.

    Args:
        config: every setting.
        gpus: processes, one for each GPU.
        card: a name in `CARDS`; without one no time is given.
        lengths: of a typical sample; LLaVA-Med's where not given.
    """
    llava = meta_model(config.model)
    with torch.device("meta"):
        width = llava.config.text_config.hidden_size
        alignment = build_loss(config.align, width, seed=0)
    if config.train.gradient_checkpointing:
        recompute_activations(llava)
    found = []
    for stage in stages(config.train):
        train_only(llava, stage.config.trains)
        found.append(_stage(config, stage, llava, alignment, lengths or Lengths(), gpus, card))
    return found


def _stage(
    config: Config, stage: Stage, llava: Any, alignment: Any, lengths: Lengths, gpus: int, card: str | None
) -> StageCost:
    aligns = stage.config.align and config.align.weight > 0
    segments = _segments(config, llava, lengths, aligns)
    batch, tokens = config.train.batch_size, sum(sum(part) for part in segments.values())
    flops = batch * sum(_flops(config, llava, kind, part, lengths) for kind, part in segments.items())
    memory = _memory(config, llava, alignment if aligns else None, tokens, lengths, gpus)
    trained = [*llava.parameters(), *(alignment.parameters() if aligns else ())]
    return StageCost(
        name=stage.name,
        steps=stage.end - stage.first,
        trained=sum(p.numel() for p in trained if p.requires_grad),
        tokens=batch * tokens,
        flops=flops,
        memory={name: size / GIB for name, size in memory.items()},
        seconds=flops / (gpus * CARDS[card].flops * UTILISATION) if card else None,
    )


def _segments(config: Config, llava: Any, lengths: Lengths, aligns: bool) -> dict[str, list[int]]:
    """Lengths of a sample's segments by how they are read: `main` with the image in the first, `short` to a layer,
    `blind` without a gradient."""
    image = llava.config.image_seq_length * lengths.images
    main = [image + lengths.prompt + lengths.answer]
    short: list[int] = []
    blind: list[int] = []
    if config.train.caption_weight:
        main.append(image + lengths.caption)
    if aligns and config.align.view != "embed":
        texts = short if config.align.layer is not None else main
        if config.align.view == "standalone" and "answer" in config.align.texts:
            texts.append(lengths.answer)
        if "caption" in config.align.texts:
            (texts if config.align.caption_grad else blind).append(lengths.caption)
    return {kind: part for kind, part in (("main", main), ("short", short), ("blind", blind)) if part}


def _flops(config: Config, llava: Any, kind: str, segments: list[int], lengths: Lengths) -> float:
    """Operations of one sample's segments, forward and backward."""
    language = llava.model.language_model
    language.config._attn_implementation = NAME
    skip_unread(language)
    layers = None if kind == "main" else config.align.layer
    unread = _unread(config, llava, lengths) if kind == "main" else 0
    with FlopCounterMode(display=False) as counter, first_layers(language, layers):
        with torch.set_grad_enabled(kind != "blind"):
            out = _read(llava, sum(segments), lengths.answer if kind == "main" else 0, unread, lengths.images)
        if out.requires_grad:
            out.backward()
    llava.zero_grad()
    passes = _passes(config, llava, kind)
    depth, width = layers or language.config.num_hidden_layers, language.config.hidden_size
    attention = passes * 2 * depth * width * sum(n * n for n in segments)  # scores and values, causal: half of both
    return float(counter.get_total_flops() + attention)


def _passes(config: Config, llava: Any, kind: str) -> int:
    """How often attention is computed, counted in forward passes: back is twice, and recomputing once more."""
    if kind == "blind":
        return 1
    return 3 + config.train.gradient_checkpointing


def _unread(config: Config, llava: Any, lengths: Lengths) -> int:
    """Places of the main row that neither a loss nor a view is read off: images and questions."""
    image = int(llava.config.image_seq_length) * lengths.images
    return image + lengths.prompt + (image if config.train.caption_weight else 0)


def _read(llava: Any, tokens: int, supervised: int, unread: int, images: int) -> Tensor:
    """The sum of what a row of one sample gives; a row with its images where anything is supervised."""
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    embedded = llava.get_input_embeddings()(ids)
    if supervised:
        side = llava.config.vision_config.image_size
        pixels = torch.empty(images, 3, side, side, device="meta", dtype=llava.dtype)
        shown = torch.cat(list(llava.model.get_image_features(pixels, return_dict=True).pooler_output))[None]
        embedded = torch.cat([shown.to(embedded.dtype), embedded[:, shown.shape[1] :]], 1)
    read = torch.empty(tokens - unread, dtype=torch.long, device="meta") if unread else None
    language = llava.model.language_model
    hidden = language(inputs_embeds=embedded, position_ids=ids, use_cache=False, read=read).last_hidden_state
    out = hidden.sum()
    return out + llava.lm_head(hidden[:, :supervised]).sum() if supervised else out


def _free(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **unused: Any
) -> tuple[Tensor, None]:
    """In attention's place: the right shape, gradients to all three, and nothing that is counted."""
    groups = query.shape[1] // key.shape[1]
    mixed = query + (key + value).repeat_interleave(groups, 1)
    return mixed.transpose(1, 2), None


AttentionInterface.register(NAME, _free)


def parameters(llava: LlavaForConditionalGeneration) -> dict[str, int]:
    """Parameters by part; shared ones once."""
    parts: dict[str, int] = {"vision": 0, "projector": 0, "language": 0}
    for name, parameter in llava.named_parameters():
        part = "vision" if "vision_tower" in name else "projector" if "projector" in name else "language"
        parts[part] += parameter.numel()
    return parts


def _memory(
    config: Config, llava: Any, alignment: Any, tokens: int, lengths: Lengths, gpus: int
) -> Mapping[str, float]:
    """Bytes of one GPU by part.

    A linear layer's weights take their type's bytes, a quarter of two in four bits. AdamW keeps two moments. With
    checkpointing a layer keeps its input, 2 bytes x width a token, and one layer at a time all it computes; without,
    every layer keeps all. A layer computes 8 widths and 4.5 feed-forward widths a token (5.3 MB at 7B).
    """
    shards = gpus if config.engine.strategy == "fsdp" else 1
    learnt = [p for p in (*llava.parameters(), *(alignment.parameters() if alignment else ())) if p.requires_grad]
    own = sum(p.numel() * p.element_size() for p in learnt)
    text, half = llava.config.text_config, 4 if config.train.precision == "fp32" and config.model.dtype == "fp32" else 2
    each = tokens * _samples(config, gpus)
    layer = half * (8 * text.hidden_size + 4.5 * text.intermediate_size)
    kept = half * text.hidden_size * text.num_hidden_layers + layer
    activations = each * (kept if config.train.gradient_checkpointing else layer * text.num_hidden_layers)
    weights = _weights(config, llava) / shards
    if config.engine.strategy == "fsdp":  # two layers are gathered whole, one ahead of the other
        weights += 2 * half * sum(p.numel() for p in llava.model.language_model.layers[0].parameters())
    found = {
        "weights": weights,
        "gradients": own / shards,
        "moments": _moments(config, learnt) / shards,
        "activations": activations,
        **_further_images(config, llava, lengths, gpus),
        "logits": _samples(config, gpus) * lengths.answer * text.vocab_size * (half + 8),
        "overhead": 1.0 * GIB,
    }
    if config.engine.offload:
        found |= dict.fromkeys(("gradients", "moments"), 0.0)
    return found


def _further_images(config: Config, llava: Any, lengths: Lengths, gpus: int) -> dict[str, float]:
    """Bytes that the tower keeps of images after a sample's first, whose own are within the overhead.

    A tower that learns keeps of each patch what `_memory` says of a layer; a frozen one keeps nothing.
    """
    tower = llava.model.vision_tower
    learns, sizes = any(p.requires_grad for p in tower.parameters()), llava.config.vision_config
    if lengths.images == 1 or not learns:
        return {}
    patches = (lengths.images - 1) * _samples(config, gpus) * llava.config.image_seq_length
    half, width = 4 if config.train.precision == "fp32" and config.model.dtype == "fp32" else 2, sizes.hidden_size
    layer = half * (8 * width + 4.5 * getattr(sizes, "intermediate_size", 4 * width))
    kept = half * width * sizes.num_hidden_layers + layer
    each = kept if config.train.gradient_checkpointing else layer * sizes.num_hidden_layers
    return {"images": patches * each}


def disk(config: Config) -> float:
    """Bytes of a run's folder at its fullest: three checkpoints, as one replaces another, and the saved model.

    A checkpoint holds all weights, and two moments of what learns; the stage that trains most decides.
    """
    llava = meta_model(config.model)
    with torch.device("meta"):
        own = [*build_loss(config.align, llava.config.text_config.hidden_size, seed=0).parameters()]
    moments = 0.0
    for stage in stages(config.train):
        train_only(llava, stage.config.trains)
        aligns = stage.config.align and config.align.weight > 0
        learnt = [p for p in llava.parameters() if p.requires_grad] + (own if aligns else [])
        moments = max(moments, _moments(config, learnt))
    weights = _weights(config, llava) + sum(p.numel() * p.element_size() for p in own)
    wide = {name: p for name, p in llava.named_parameters() if "lora_" in name or PROJECTOR in name}
    saved = sum(p.numel() * p.element_size() for p in wide.values()) if config.model.lora.rank else weights
    return CHECKPOINTS * (weights + moments) + saved + SMALL


def _moments(config: Config, learnt: Iterable[Tensor]) -> float:
    """Bytes of both moments: of the parameters' type, or eight bits each."""
    eight = config.train.optimizer == "adamw8bit"
    return 2.0 * sum(p.numel() * (1 if eight else p.element_size()) for p in learnt)


def _weights(config: Config, llava: Any) -> float:
    """Bytes of all weights, the language model's layers in four bits where asked."""
    total = 0.0
    for name, p in llava.named_parameters():
        packed = config.model.quantize == "4bit" and ".language_model.layers." in name and p.ndim == 2
        total += p.numel() * (0.52 if packed and "lora_" not in name else p.element_size())
    return total


def _samples(config: Config, gpus: int) -> int:
    """Samples of one pass on one GPU."""
    share = -(-config.train.batch_size // gpus)
    return min(share, config.engine.micro_batch or share)

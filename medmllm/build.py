"""From a configuration to live objects: the only module that constructs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from medmllm.align import AlignedLlava, build_alignment
from medmllm.config import Config
from medmllm.data.batches import Reader
from medmllm.data.conversation import Encoder
from medmllm.data.records import Record
from medmllm.data.sources import Source, open_source, usable
from medmllm.data.tokenizer import build_tokenizer
from medmllm.errors import DataError
from medmllm.model.assemble import assemble, image_tokens, processor, recompute_activations
from medmllm.model.packed import PackedLlava


@dataclass(frozen=True)
class Job:
    """All that a training run works with."""

    config: Config
    source: Source
    records: tuple[Record, ...]
    skipped: tuple[tuple[str, str], ...]
    reader: Reader
    model: AlignedLlava


def build(config: Config) -> Job:
    """Reads the data, makes tokenizer, model and alignment; every random choice comes from `config.seed`."""
    source = open_source(config.data)
    records, skipped = training_records(config, source)
    tokenizer = build_tokenizer(records, config.model.language.vocab_size)
    encoder = Encoder(tokenizer, image_tokens(config.model.vision))
    check_lengths(records, encoder, config.model.language.max_length)
    llava = assemble(config.model, tokenizer, seed=config.seed)
    if config.train.gradient_checkpointing:
        recompute_activations(llava)
    alignment = build_alignment(config.align, config.model.language.hidden_size, seed=config.seed)
    model = AlignedLlava(PackedLlava(llava), alignment, config)
    return Job(
        config, source, records, skipped, Reader(source, encoder, processor(config.model.vision, tokenizer)), model
    )


def training_records(config: Config, source: Source) -> tuple[tuple[Record, ...], tuple[tuple[str, str], ...]]:
    """Training records, and `(id, reason)` of those that `data.on_bad_sample=skip` left out."""
    records = source.records("train")
    skipped: Sequence[tuple[str, str]] = ()
    if config.data.on_bad_sample == "skip":
        records, skipped = usable(source, records)
    if len(records) < config.train.batch_size:
        raise DataError(
            f"{len(records)} training records are fewer than one batch of {config.train.batch_size}.",
            where=config.data.source,
            hint=f"use more data, or train.batch_size={max(1, len(records))}",
        )
    return tuple(records), tuple(skipped)


def check_lengths(records: Sequence[Record], encoder: Encoder, limit: int) -> None:
    """Refuses sequences over the limit: cutting them could cut an image or an answer."""
    lengths = {r.id: max(len(encoder.conversation(r)), len(encoder.captioning(r))) for r in records}
    over = Counter({name: length for name, length in lengths.items() if length > limit})
    if over:
        name, longest = over.most_common(1)[0]
        raise DataError(
            f"{len(over)} records are longer than {limit} tokens, image included; the longest has {longest}.",
            where=f"record {name}",
            hint=f"raise the limit: model.language.max_length={longest}",
        )

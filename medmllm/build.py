"""From a configuration to live objects: the only module that constructs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from graphalign.counts import count_of
from medmllm.data.batches import Reader
from medmllm.data.catalog import INSIDE
from medmllm.data.config import DataConfig
from medmllm.data.conversation import Encoder
from medmllm.data.formats import raise_all
from medmllm.data.records import Record
from medmllm.data.shards.source import ShardRecords, ShardSource
from medmllm.data.sources import Source, open_source, usable
from medmllm.data.validate import READABLE, validate_data
from medmllm.data.wrong_captions import with_wrong_captions
from medmllm.errors import ConfigError, DataError
from medmllm.model.aligned import AlignedLlava
from medmllm.model.alignment import build_loss, take_over
from medmllm.model.architecture import architecture
from medmllm.model.assemble import assemble, processor, recompute_activations
from medmllm.model.manner import wanted_chat
from medmllm.model.packed import PackedLlava
from medmllm.model.vocabulary import make_tokenizer
from medmllm.settings.schema import Config, ModelConfig


class Skipped(NamedTuple):
    """A row that is not used: one that `data.on_bad_sample=skip` left out, or a published one without an answer."""

    split: str
    id: str
    reason: str


@dataclass(frozen=True)
class Job:
    """All that a training run works with.

    Attributes:
        config: every setting.
        source: opens images.
        splits: usable records by split.
        skipped: rows that are not used.
        reader: records to tensors.
        model: what is trained.
    """

    config: Config
    source: Source
    splits: dict[str, tuple[Record, ...]]
    skipped: tuple[Skipped, ...]
    reader: Reader
    model: AlignedLlava

    @property
    def records(self) -> tuple[Record, ...]:
        """The training records."""
        return self.splits["train"]


def build_job(config: Config) -> Job:
    """Read the data, make tokenizer, model and alignment; every random choice comes from `config.seed`."""
    source, splits, skipped = read_data(config.data)
    # shards may say in which window their scans are shown: evaluation must know it without them
    config = config.model_copy(update={"data": config.data.model_copy(update={"window": source.window})})
    check_size(splits, config)
    known = looked_at(splits["train"])
    tokenizer = make_tokenizer(config.model, known)
    reader = build_reader(config.model, source, tokenizer)
    check_lengths(known, reader.encoder, config.model.language.max_length)
    return Job(config, source, splits, skipped, reader, build_model(config, tokenizer))


def looked_at(records: Sequence[Record]) -> Sequence[Record]:
    """The records that tokenizer and checks look at: all, but of shards ten thousand spread over them."""
    return tuple(records.some()) if isinstance(records, ShardRecords) else records


def build_reader(config: ModelConfig, source: Source, tokenizer: PreTrainedTokenizerFast) -> Reader:
    """What turns records of `source` into tensors for the configured model."""
    shape = architecture(config, tokenizer)
    encoder = Encoder(tokenizer, shape.image_seq_length, wanted_chat(config))
    return Reader(source, encoder, processor(config, shape, tokenizer))


def build_model(config: Config, tokenizer: PreTrainedTokenizerFast) -> AlignedLlava:
    """Model and alignment with their first weights."""
    llava = assemble(config.model, tokenizer, seed=config.seed)
    if config.train.gradient_checkpointing:
        recompute_activations(llava)
    alignment = build_loss(config.align, llava.config.text_config.hidden_size, seed=config.seed)
    align = config.align
    if config.model.source is not None and align.from_source and align.weight > 0:
        take_over(alignment, config.model.source)
    packed = PackedLlava(llava, view=align.view, caption_grad=align.caption_grad, layer=align.layer, nodes=align.images)
    return AlignedLlava(packed, alignment, config)


def read_data(config: DataConfig) -> tuple[Source, dict[str, tuple[Record, ...]], tuple[Skipped, ...]]:
    """The source, its usable records by split, and what was left out.

    Every image of a user's file is opened before training begins: a bad one must not stop a run after hours. It stops
    it here, or is left out with `data.on_bad_sample=skip`, as is a row that cannot be read.
    """
    source = open_source(config)
    splits = {split: source.records(split) for split in source.splits}
    if config.wrong_captions:
        if isinstance(source, ShardSource):
            raise ConfigError(
                "captions of shards cannot be passed on", where="data.wrong_captions", hint="data.wrong_captions=0"
            )
        splits["train"] = with_wrong_captions(splits["train"], config.wrong_captions)
    if config.source in INSIDE or isinstance(source, ShardSource):  # shards are read while they are trained on
        return source, splits, ()
    skipped = [
        Skipped(split, f"row {fault.row} of {Path(fault.file).name}", f"{fault.where}: {fault.message}")
        for split, fault in source.left_out
    ]
    if config.on_bad_sample == "error":
        raise_all(validate_data(config, checks=READABLE).problems)
        return source, splits, tuple(skipped)
    sorted_out = {split: usable(source, records) for split, records in splits.items()}
    skipped += [Skipped(split, *pair) for split, (_, lost) in sorted_out.items() for pair in lost]
    return source, {split: kept for split, (kept, _) in sorted_out.items()}, tuple(skipped)


def check_size(splits: Mapping[str, Sequence[Record]], config: Config) -> None:
    """Refuse training data of less than one batch or of unknown lengths, and a split to be asked with no question."""
    records = splits["train"]
    if config.train.group_by_length and isinstance(records, ShardRecords):
        raise ConfigError(
            "records of shards are read when they are trained on, so they cannot be grouped by length",
            where="train.group_by_length",
            hint="train.group_by_length=false",
        )
    empty = [split for split in ("validation", "test") if not splits[split]]
    if empty:
        raise DataError(
            f"no usable record is left in {' and '.join(empty)}",
            where=config.data.source,
            hint="exgra data validate says what is wrong with the images",
        )
    if not any(splits.get(split) for split in config.eval.splits):
        raise DataError(
            f"the data has no record in {', '.join(config.eval.splits)}",
            where="eval.splits",
            hint=f"it has {', '.join(split for split in splits if splits[split])}",
        )
    if len(records) < config.train.batch_size:
        raise DataError(
            f"{len(records)} training records are fewer than one batch of {config.train.batch_size}",
            where=config.data.source,
            hint=f"use more data, or train.batch_size={max(1, len(records))}",
        )


def check_lengths(records: Sequence[Record], encoder: Encoder, limit: int) -> None:
    """Refuse sequences over the limit: cutting them could cut an image or an answer."""
    lengths = {r.id: max(len(encoder.conversation(r)), len(encoder.captioning(r))) for r in records}
    over = Counter({name: length for name, length in lengths.items() if length > limit})
    if over:
        name, longest = over.most_common(1)[0]
        raise DataError(
            f"{count_of(len(over), 'record has', 'records have')} more than {limit} tokens, image included; the "
            f"longest has {longest}",
            where=f"record {name}",
            hint=f"raise the limit: model.language.max_length={longest}",
        )

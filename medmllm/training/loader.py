"""A process's batches, step by step: its share of each global batch, cut into passes, read ahead by workers.

The batch of a step is a function of (configuration, seed, step) alone. Shares and passes only decide where a sample is
computed: the graph spans all of them, so results do not depend on the number of processes, passes or workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from medmllm.build import Job
from medmllm.data.batches import Sampler
from medmllm.data.conversation import Encoded
from medmllm.data.packing import TEXTS, PackedBatch, segments
from medmllm.data.records import Record
from medmllm.data.shards.order import ShardOrder
from medmllm.data.shards.source import ShardRecords
from medmllm.distributed import Process
from medmllm.errors import DataError
from medmllm.settings.schema import Config
from medmllm.settings.stages import alignment_weight, stage_at, stages

T = TypeVar("T")


class Steps(Dataset[list[PackedBatch]]):
    """The passes of a process by the number of the step."""

    def __init__(self, job: Job, process: Process) -> None:
        self.config, self.reader, self.records, self.process = job.config, job.reader, job.records, process
        self.order = order_of(job.records, self.config)
        self.plan = stages(self.config.train)

    def __getitem__(self, step: int) -> list[PackedBatch]:
        records = [self.records[i] for i in self.order.indices(step)]
        weight = alignment_weight(self.config.align, stage_at(self.plan, step), step)
        texts = texts_of(self.config) if weight > 0 else ()
        rows = [segments(record, self.reader.encoder, captioning=self.captioning, texts=texts) for record in records]
        lengths = [sum(map(len, row)) for row in rows]
        mine = deal(lengths, self.process)
        engine = self.config.engine
        passes = cut([lengths[i] for i in mine], engine.micro_batch, engine.micro_tokens)
        return [self._pack(records, rows, [mine[i] for i in part], texts) for part in passes]

    @property
    def captioning(self) -> bool:
        return self.config.train.caption_weight > 0

    def _pack(
        self, records: Sequence[Record], rows: Sequence[list[Encoded]], places: list[int], texts: tuple[str, ...]
    ) -> PackedBatch:
        chosen, encoded = [records[i] for i in places], [rows[i] for i in places]
        batch = self.reader.pack(
            chosen,
            captioning=self.captioning,
            texts=texts,
            places=places,
            encoded=encoded,
            same=self.config.align.same,
        )
        limit = self.config.model.language.max_length
        if max(batch.lengths) > limit:  # of shards, not every record was examined before
            raise DataError(
                f"a record has {max(batch.lengths)} tokens, image included, and the limit is {limit}",
                where=f"one of the records {', '.join(record.id for record in chosen)}",
                hint=f"model.language.max_length={max(batch.lengths)}",
            )
        return batch


def order_of(records: Sequence[Record], config: Config) -> Sampler | ShardOrder:
    """Which records make the batch of a step: of all shuffled, or of shards shuffled by buffer."""
    if isinstance(records, ShardRecords):
        return records.order(config.train.batch_size, config.seed)
    lengths = torch.tensor([record.letters for record in records]) if config.train.group_by_length else None
    return Sampler(len(records), config.train.batch_size, config.seed, lengths)


def texts_of(config: Config) -> tuple[str, ...]:
    """The texts that an aligning step reads besides its conversations."""
    there = {"answer"} if config.align.view == "lm_leaky" else set()
    return tuple(name for name in TEXTS if name in config.align.texts and name not in there)


def deal(lengths: Sequence[int], process: Process) -> list[int]:
    """The places of the global batch that a process computes: equally many for each, and nearly equally many tokens.

    Longest first, dealt in alternating (snake) order, so that no process waits long for another.
    """
    if process.world == 1:
        return list(range(len(lengths)))
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    rounds = [order[i : i + process.world] for i in range(0, len(order), process.world)]
    return sorted(part[process.rank if n % 2 == 0 else -1 - process.rank] for n, part in enumerate(rounds))


def cut(lengths: Sequence[int], most: int | None, tokens: int | None) -> list[list[int]]:
    """Positions by pass: at most `most` samples and `tokens` tokens in each, as few and as even passes as that allows.

    Longest first, each into the emptiest pass that has room. A sample longer than `tokens` is a pass of its own.
    """
    least = max(-(-len(lengths) // (most or len(lengths))), -(-sum(lengths) // (tokens or sum(lengths))))
    passes: list[list[int]] = [[] for _ in range(least)]
    sums = [0] * least
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fits = [
            n
            for n, part in enumerate(passes)
            if not part or (len(part) < (most or len(lengths)) and sums[n] + lengths[i] <= (tokens or sum(lengths)))
        ]
        if not fits:
            passes.append([])
            sums.append(0)
        best = min(fits, key=lambda n: (sums[n], n), default=len(passes) - 1)
        passes[best].append(i)
        sums[best] += lengths[i]
    return [sorted(part) for part in passes if part]


def load_batches(steps: Steps, start: int, device: torch.device) -> Iterator[list[PackedBatch]]:
    """The passes of every step from `start` on, on the device, read ahead by `engine.workers` or by a thread."""
    workers = steps.config.engine.workers
    loader: DataLoader[list[PackedBatch]] = DataLoader(
        steps,
        batch_size=None,
        sampler=range(start, steps.config.train.steps),
        num_workers=workers,
        generator=torch.Generator(),  # its base seed must not be drawn from the global generator
    )
    read = iter(loader) if workers else one_ahead(iter(loader))
    return ([batch.to(device) for batch in passes] for passes in read)


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield item

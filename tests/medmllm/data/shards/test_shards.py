"""Shards: what goes in comes out, every sample once an epoch, whatever reads it and whenever it is killed."""

import json
import pickle
import resource
import signal
import tarfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import processes
import pytest

from medmllm.data.config import DataConfig
from medmllm.data.shards.index import Index, Shard, open_index
from medmllm.data.shards.order import ShardOrder
from medmllm.data.shards.source import ShardRecords
from medmllm.data.shards.write import write_shards
from medmllm.data.sources import open_source
from medmllm.errors import ConfigError, DataError
from medmllm.planning.plan import plan
from medmllm.settings.load import dump
from medmllm.training.trainer import train


def shards(tmp_path, drawn, layout="tar", samples=7, **options):
    write_shards(
        open_source(DataConfig(source=str(drawn))), tmp_path / layout, samples=samples, layout=layout, **options
    )
    return tmp_path / layout


def test_shards_of_private_data_are_marked_too(drawn, tmp_path):
    assert not (shards(tmp_path, drawn) / "PRIVATE").exists()
    rows = [row | {"image": str(drawn.parent / row["image"])} for row in json.loads(drawn.read_text())]
    (tmp_path / "own").mkdir()
    (tmp_path / "own/data.json").write_text(json.dumps(rows))
    (tmp_path / "own/Private.txt").write_text("")
    source = open_source(DataConfig(source=str(tmp_path / "own/data.json"), allow_outside=True))
    write_shards(source, tmp_path / "marked")
    assert "Private.txt" in (tmp_path / "marked/PRIVATE").read_text()


@pytest.mark.parametrize("layout", ["tar", "parquet"])
def test_what_goes_in_comes_out(drawn, tmp_path, layout):
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    own = open_source(DataConfig(source=str(drawn)))
    folder = shards(tmp_path, drawn, layout)
    found = open_source(DataConfig(source=str(folder), validation=str(drawn)))
    records = found.records("train")
    assert len(records) == len(own.records("train"))
    for ours, theirs in zip(own.records("train"), records, strict=True):
        assert (ours.id, ours.turns, ours.sentence, ours.caption, ours.image, ours.subject) == (
            theirs.id, theirs.turns, theirs.sentence, theirs.caption, theirs.image, theirs.subject,
        )  # fmt: skip
        assert own.image(ours).tobytes() == found.image(theirs).tobytes()
    assert pickle.loads(pickle.dumps(records))[3] == records[3]
    assert found.records("validation")


def test_tar_shards_are_webdatasets(drawn, tmp_path):
    folder = shards(tmp_path, drawn)
    with tarfile.open(folder / "000000.tar") as tar:
        names = tar.getnames()
        assert [Path(name).suffix for name in names[:4]] == [".json", ".png", ".json", ".png"]
        assert Path(names[0]).stem == Path(names[1]).stem
        assert json.loads(tar.extractfile(names[0]).read())["turns"]


def test_a_shard_cut_short_is_named(drawn, tmp_path):
    folder = shards(tmp_path, drawn)
    file = folder / "000001.tar"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(DataError, match="shorter than its index") as caught:
        list(ShardRecords(folder))
    assert "000001.tar: row" in caught.value.where


@pytest.mark.parametrize("own", [b"{", b"{}", b'{"turns": [1], "options": []}'])
def test_a_record_that_is_none_of_ours_is_named(drawn, tmp_path, own):
    folder = shards(tmp_path, drawn)
    content = bytearray((folder / "000001.tar").read_bytes())
    start, size = np.load(folder / "000001.tar.offsets.npy")[2, :2]
    content[start : start + size] = own.ljust(size)
    (folder / "000001.tar").write_bytes(content)
    with pytest.raises(DataError, match="none of ours") as caught:
        list(ShardRecords(folder))
    assert "000001.tar: row 3" in caught.value.where


def test_a_folder_is_never_overwritten_and_shards_need_held_out_data(drawn, tmp_path):
    folder = shards(tmp_path, drawn)
    with pytest.raises(ConfigError, match="exists already"):
        shards(tmp_path, drawn)
    with pytest.raises(ConfigError, match="another file"):
        open_source(DataConfig(source=str(folder)))


def test_shards_cannot_be_grouped_by_length(tiny, drawn, tmp_path):
    data = {"source": str(shards(tmp_path, drawn)), "validation": str(drawn)}
    with pytest.raises(ConfigError, match="grouped by length"):
        plan(tiny(data=data, train={"group_by_length": True}))


def index_of(*sizes):
    return Index(Path(), "tar", tuple(Shard(f"{n}.tar", size) for n, size in enumerate(sizes)))


@pytest.mark.parametrize(("sizes", "batch"), [((5, 3, 8, 1, 9), 4), ((10,), 3), ((4,) * 40, 16)])
def test_every_sample_comes_once_an_epoch(sizes, batch):
    order = ShardOrder(index_of(*sizes), batch, seed=1, together=3)
    total = sum(sizes)
    seen = [n for step in range(-(-3 * total // batch)) for n in order.indices(step)]
    for epoch in range(3):
        assert sorted(seen[epoch * total : (epoch + 1) * total]) == list(range(total))
    assert seen[:total] != seen[total : 2 * total] or total < 5
    assert order.indices(1) == ShardOrder(index_of(*sizes), batch, seed=1, together=3).indices(1)


def test_shuffling_reaches_over_shards():
    """Neighbours in the order come from several shards, and seldom stand side by side."""
    order = ShardOrder(index_of(*[50] * 40), 100, seed=0, together=10)
    samples = order.indices(0)
    assert len({n // 50 for n in samples}) == 10
    assert sum(abs(a - b) == 1 for a, b in pairwise(samples)) < 10


def many(folder, rows, size=10_000):
    Index(folder, "tar", tuple(Shard(f"{n:06d}.tar", size) for n in range(rows // size))).save()


@pytest.mark.parametrize("rows", [2_000_000, pytest.param(25_000_000, marks=pytest.mark.slow)])
def test_millions_of_rows_open_at_once_in_constant_memory(tmp_path, rows):
    many(tmp_path, rows)
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    index = open_index(tmp_path)
    order = ShardOrder(index, 64, seed=0)
    far = [order.indices(step) for step in (0, rows // 64 // 2, rows // 64 + 5)]
    assert time.process_time() - begin < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
    assert len(index) == rows
    assert all(0 <= n < rows for step in far for n in step)
    assert index.locate(rows - 1) == (index.shards[-1], 9999)


READ = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from medmllm.build import build_reader, read_data
from medmllm.data.tokenizer import build_tokenizer
from medmllm.distributed import process, process_group
from medmllm.training.loader import Steps, load_batches
from medmllm.settings.load import load_config

def main(config_file, out, start, die):
    torch.set_num_threads(1)
    config = load_config(config_file)
    source, splits, _ = read_data(config.data)
    reader = build_reader(config.model, source, build_tokenizer(splits["validation"], 300))
    job = SimpleNamespace(config=config, reader=reader, records=splits["train"])
    with process_group():
        rank = process().rank
        steps = Steps(job, process())
        for step, passes in enumerate(load_batches(steps, int(start), torch.device("cpu")), int(start)):
            ids = [steps.order.indices(step)[place] for batch in passes for place in batch.places.tolist()]
            with open(f"{out}/rank-{rank}.jsonl", "a") as file:
                file.write(json.dumps([step, ids]) + "\\n")
            if step == int(die):
                import os, signal
                os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.slow
def test_killed_in_a_shard_and_resumed_sees_every_sample_once(tiny, drawn, tmp_path):
    """Two processes of two workers each die as by a power cut in the middle of a shard, and resume from their step."""
    folder = shards(tmp_path, drawn, samples=10)
    data = {"source": str(folder), "validation": str(drawn)}
    total = len(open_index(folder))
    batch = 4
    steps = -(-2 * total // batch)
    config = tiny(data=data, train={"batch_size": batch, "steps": steps}, engine={"workers": 2})
    (tmp_path / "config.yaml").write_text(dump(config))
    (tmp_path / "read.py").write_text(READ)
    died = 4  # 20 samples in: the middle of a shard
    for start, die, expected in ((0, died, -signal.SIGKILL), (died + 1, -1, 0)):
        begun = processes.start(2, tmp_path / "read.py", tmp_path / "config.yaml", tmp_path, start, die)
        codes, _, errors = processes.finish(begun)
        assert codes == [expected] * 2, errors
    lines = [
        json.loads(line) for rank in range(2) for line in (tmp_path / f"rank-{rank}.jsonl").read_text().splitlines()
    ]
    assert sorted(step for step, _ in lines) == sorted([*range(steps)] * 2)
    seen = Counter(n for step, ids in lines for n in ids if step < total // batch)
    whole = [n for _, ids in sorted(lines) for n in ids][: total // batch * batch]
    assert max(seen.values()) == 1
    assert len(whole) == len(set(whole)) == total // batch * batch
    counts = Counter(n for _, ids in lines for n in ids)
    assert set(counts) == set(range(total))


def test_a_run_on_shards_repeats_and_resumes(tiny, drawn, tmp_path):
    folder = shards(tmp_path, drawn)
    config = tiny(data={"source": str(folder), "validation": str(drawn)}, train={"steps": 4, "save_every": 2})
    summary = train(config, tmp_path / "whole")
    assert summary["status"] == "done"
    assert json.loads((tmp_path / "whole" / "data.json").read_text())["rows"]["train"] == len(open_index(folder))
    lines = [json.loads(line) for line in (tmp_path / "whole" / "timings.jsonl").read_text().splitlines()]
    assert all(0 <= line["waiting_seconds"] <= line["seconds"] for line in lines)


def reindex(folder, change):
    """Write the index again with its plain values changed."""
    tree = json.loads((folder / "index.json").read_text())
    change(tree)
    (folder / "index.json").write_text(json.dumps(tree))


def first(**entry):
    return lambda tree: tree["shards"][0].update(entry)


@pytest.mark.parametrize(
    "change",
    [
        first(samples=10**30),
        first(samples=-1),
        first(samples=0),
        first(samples=6),
        first(samples=8),
        first(samples=7.0),
        first(samples=True),
        first(samples="7"),
        first(file="../other/000000.tar"),
        first(file="/etc/hostname"),
        first(file="..\\000000.tar"),
        first(file="000009.tar"),
        first(file=7),
        first(part=-1),
        first(other=1),
        lambda tree: tree["shards"].append(tree["shards"][0]),
        lambda tree: tree["shards"].pop(),
        lambda tree: tree.update(samples=10**30),
        lambda tree: tree.update(layout="zip"),
        lambda tree: tree.update(shards=None),
        lambda tree: tree.update(shards=[[]]),
    ],
)
@pytest.mark.parametrize("layout", ["tar", "parquet"])
def test_an_index_that_lies_is_refused_when_it_is_opened(drawn, tmp_path, layout, change):
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    folder = shards(tmp_path, drawn, layout)
    reindex(folder, change)
    with pytest.raises(DataError):
        ShardRecords(folder)


def test_an_index_nested_too_deep_is_refused(tmp_path):
    (tmp_path / "index.json").write_text("[" * 10**5)
    with pytest.raises(DataError, match="index of the shards"):
        ShardRecords(tmp_path)


def header(shape, kind="<i8"):
    """A `.npy` file with nothing behind its header."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", header("(7, 4)"), header(f"({10**15}, 4)"), header(f"({10**30}, 4)"), header("(7,)"),
     header("(7, 4)", "|O") + bytes(224), header("(7, 4)", "<f8") + bytes(224), header("(-1, 4)")],
    ids=["empty", "cut", "no rows", "huge", "beyond any number", "flat", "objects", "floats", "negative"],
)  # fmt: skip
def test_offsets_that_lie_are_refused_when_the_index_is_opened(drawn, tmp_path, content):
    folder = shards(tmp_path, drawn)
    (folder / "000000.tar.offsets.npy").write_bytes(content)
    with pytest.raises(DataError, match="the shard cannot be read"):
        ShardRecords(folder)


@pytest.mark.parametrize("place", [(0, 0, -5), (0, 1, -1), (0, 0, 2**62), (0, 1, 2**62), (3, 3, 10**9)], ids=str)
def test_an_offset_outside_the_file_is_refused_when_it_is_read(drawn, tmp_path, place):
    folder = shards(tmp_path, drawn)
    path = folder / "000000.tar.offsets.npy"
    offsets = np.load(path)
    offsets[place[0], place[1]] = place[2]
    np.save(path, offsets)
    with pytest.raises(DataError, match="the shard cannot be read"):
        [(record, ShardRecords(folder).shards.image(*ShardRecords(folder).listing.locate(n))) for n, record in
         enumerate(ShardRecords(folder))]  # fmt: skip

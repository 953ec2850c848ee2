"""Rows without a caption among rows that have one: aligned without that view, and counted."""

import json
import shutil

import pytest
import torch

from medmllm.build import build_job
from medmllm.data.file_source import FileSource
from medmllm.data.shards.source import ShardRecords
from medmllm.data.shards.write import write_shards
from medmllm.evaluate.matching import match_held_out
from medmllm.model.aligned import Views, training_step
from medmllm.training.trainer import train


def rewritten(drawn, place, change):
    rows = [change(number, row) for number, row in enumerate(json.loads(drawn.read_text()))]
    path = place / "data.json"
    path.write_text(json.dumps(rows))
    shutil.copytree(drawn.parent / "images", place / "images")
    return path


def bare(number, row):
    return {key: value for key, value in row.items() if key != "conversations_long"}


@pytest.fixture
def partly(drawn, tmp_path):
    """Every third row has no caption."""
    return rewritten(drawn, tmp_path, lambda number, row: bare(number, row) if number % 3 == 0 else row)


def figures(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss_align" in line]


def test_training_counts_what_is_missing(tiny, partly, tmp_path):
    config = tiny(data={"source": str(partly)}, train={"caption_weight": 0.5})
    job = build_job(config)
    missing = sum(record.caption_missing for record in job.records)
    assert missing == sum(int(record.id[1:]) % 3 == 0 for record in job.records) > 0
    assert [line for line in job.source.warnings if line.startswith(f"{missing} of {len(job.records)} training rows")]
    summary = train(config, tmp_path / "run")
    aligned = figures(tmp_path / "run")
    counts = [line.get("missing_captions", 0) for line in aligned]
    assert 0 < sum(counts) < 8 * len(counts)
    assert all(line["grad_norm_align"] > 0 and 0 <= line["matching_accuracy"] <= 1 for line in aligned)
    assert 0 < summary["matching"]["chance"] <= 1


@pytest.mark.parametrize("loss", ["alignment", "infonce", "plot"])
@pytest.mark.parametrize("micro_batch", [None, 3])
def test_passes_make_no_difference_and_a_missing_caption_has_no_gradient(tiny, partly, loss, micro_batch):
    config = tiny(data={"source": str(partly)}, align={"loss": loss}, train={"batch_size": 9, "caption_weight": 0.5})
    job = build_job(config)
    records, whole = job.records[:9], [job.reader.pack(job.records[:9], captioning=True)]
    parts = [records[at : at + micro_batch] for at in range(0, 9, micro_batch)] if micro_batch else [records]
    passes = [job.reader.pack(part, captioning=True) for part in parts]
    found = []
    for batches in (whole, passes):
        job.model.zero_grad()
        out = training_step(job.model, batches, 1.0, torch.Generator().manual_seed(0), scale=lambda loss: loss)
        gradient = torch.cat([p.grad.flatten() for p in job.model.parameters() if p.grad is not None])
        found.append((out.alignment, gradient))
    assert found[0][0].missing["caption"] == sum(record.caption_missing for record in records) > 0
    torch.testing.assert_close(found[0][0].loss, found[1][0].loss)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


def test_the_step_is_that_of_views_with_rows_left_out(tiny, partly):
    job = build_job(tiny(data={"source": str(partly)}, align={"loss": "infonce", "texts": ["caption"]}))
    batch = job.reader.pack(job.records[:9], texts=("caption",))
    out = job.model.packed(batch)
    views = Views.of(out, batch, tokens=False).leaves()
    job.model.align(views, None).loss.backward()
    kept = {name: x.detach()[batch.captioned].requires_grad_() for name, x in views.values.items()}
    job.model.alignment(kept).loss.backward()
    for name, x in views.values.items():
        assert (x.grad[~batch.captioned] == 0).all()
        torch.testing.assert_close(x.grad[batch.captioned], kept[name].grad)


def test_a_missing_caption_is_no_target_and_no_partner(tiny, partly):
    job = build_job(tiny(data={"source": str(partly)}))
    records = job.records[:9]
    gone = [record for record in records if record.caption_missing]
    counted = job.reader.pack(records, captioning=True).learnt_tokens()[1]
    rest = job.reader.pack([record for record in records if record not in gone], captioning=True).learnt_tokens()[1]
    assert counted == rest > 0
    alike = [record for record in job.records if record.caption_missing and record.answer == gone[0].answer][:2]
    assert alike[0].caption == alike[1].caption
    assert len(set(job.reader.pack(alike).captions.tolist())) == 2
    found = match_held_out(job.model, job.reader, records, 9)
    assert set(found.names) == {record.id for record in records} - {record.id for record in gone}


def test_where_no_row_has_a_caption_the_answers_are_the_captions(tiny, drawn, tmp_path):
    path = rewritten(drawn, tmp_path, bare)
    job = build_job(tiny(data={"source": str(path)}))
    assert not any(record.caption_missing for record in job.records)
    assert all(record.caption == record.sentence for record in job.records)
    out = job.model(job.reader.pack(job.records[:8]), torch.Generator().manual_seed(0))
    assert set(out.views) == {"image", "answer", "caption"}
    assert out.alignment.missing is None


def test_wrong_captions_are_passed_on_among_those_that_have_one(tiny, partly):
    found = {share: build_job(tiny(data={"source": str(partly), "wrong_captions": share})) for share in (0, 0.25, 0.5)}
    right = {record.id: record.caption for record in found[0].records}
    wrong = {share: {r.id for r in job.records if r.caption != right[r.id]} for share, job in found.items()}
    captioned = [record for record in found[0].records if not record.caption_missing]
    assert wrong[0] == set()
    assert wrong[0.25] < wrong[0.5] <= {record.id for record in captioned}
    assert len(wrong[0.5]) == -(-len(captioned) // 2)
    for job in found.values():
        assert sorted(record.caption for record in job.records) == sorted(right.values())
        assert all(record.caption == record.sentence for record in job.records if record.caption_missing)
    assert found[0.5].splits["validation"] == found[0].splits["validation"]


def test_wrong_captions_change_what_reads_captions_and_nothing_else(tiny, drawn, tmp_path):
    def losses(name, **settings):
        found = []
        for share in (0.0, 1.0):
            train(tiny(data={"source": str(drawn), "wrong_captions": share}, **settings), tmp_path / f"{name}-{share}")
            lines = map(json.loads, (tmp_path / f"{name}-{share}" / "metrics.jsonl").read_text().splitlines())
            found.append([line["loss"] for line in lines if "loss" in line])
        return found

    right, wrong = losses("plain", align={"weight": 0})
    assert right == wrong
    for name, settings in {"captions": {"align": {"weight": 0}, "train": {"caption_weight": 1}}, "aligned": {}}.items():
        right, wrong = losses(name, **settings)
        assert len(right) == len(wrong) > 0
        assert right != wrong


def test_shards_keep_it(partly, tmp_path):
    source = FileSource(partly)
    write_shards(source, tmp_path / "shards")
    found = {record.id: record.caption_missing for record in ShardRecords(tmp_path / "shards")}
    assert found == {record.id: record.caption_missing for record in source.records("train")}
    assert 0 < sum(found.values()) < len(found)

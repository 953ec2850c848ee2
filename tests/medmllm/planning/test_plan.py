"""What cannot work is refused before anything is loaded, and the plan says what will be."""

import shutil
from collections import namedtuple

import pytest
from pydantic import ValidationError

from medmllm.distributed import Process
from medmllm.errors import ConfigError, DataError, RunError
from medmllm.planning.plan import check_config, check_disk, count_parameters, plan

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("sections", "where"),
    [
        ({"model": {"language": {"hidden_size": 12, "heads": 4}}}, "model.language.heads"),
        ({"model": {"language": {"hidden_size": 12, "heads": 5}}}, "model.language.heads"),
        ({"model": {"vision": {"feature_layer": 0}}}, "model.vision.feature_layer"),
        ({"model": {"vision": {"feature_layer": -9}}}, "model.vision.feature_layer"),
        ({"model": {"vision": {"patch_size": 15}}}, "model.vision.patch_size"),
        ({"data": {"source": "embedded", "validation": "x.json"}}, "data.validation"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(tiny, sections, where):
    with pytest.raises(ConfigError) as caught:
        check_config(tiny(**sections))
    assert caught.value.where == where
    assert caught.value.hint


@pytest.mark.parametrize("values", [{"seed": 2**63}, {"name": "a/b"}, {"name": ".."}, {"name": ""}])
def test_values_that_no_run_can_have_are_refused(tiny, values):
    with pytest.raises(ValidationError):
        tiny(**values)


def test_less_than_a_batch_is_refused(tiny):
    with pytest.raises(DataError, match="fewer than one batch"):
        plan(tiny(train={"batch_size": 1000}))


def test_the_plan_counts_what_is_built(tiny):
    from medmllm.build import build_job

    found, job = plan(tiny()), build_job(tiny())
    built = sum(p.numel() for p in job.model.packed.llava.parameters())
    assert found.parameters == count_parameters(tiny()) >= built
    assert found.rows["train"] == len(job.records)


def test_a_run_that_does_not_fit_is_refused_and_one_that_is_there_already_counts(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1_000_000))
    with pytest.raises(RunError, match="MiB free"):
        check_disk(tiny(), tmp_path)
    (tmp_path / "checkpoint").write_bytes(b"0" * 6_000_000)
    check_disk(tiny(), tmp_path)


def test_files_are_named_from_the_root(tiny, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert tiny(data={"source": "x.json"}).data.source == str(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("align", "near"),
    [
        ({"layer": 9}, "align.layer=1"),
        ({"layer": 1, "view": "embed"}, "align.view=standalone"),
        ({"texts": ["answer"], "view": "lm_leaky"}, "align.view=standalone"),
    ],
)
def test_views_that_cannot_be_had_are_refused(tiny, align, near):
    with pytest.raises(ConfigError) as caught:
        check_config(tiny(align=align))
    assert near in caught.value.hint


@pytest.mark.parametrize(
    ("sections", "near"),
    [
        ({"engine": {"offload": True}}, "engine.strategy=fsdp"),
        ({"engine": {"strategy": "fsdp"}, "train": {"precision": "fp16"}}, "train.precision=bf16"),
    ],
)
def test_an_engine_that_cannot_run_is_refused(tiny, sections, near):
    with pytest.raises(ConfigError) as caught:
        check_config(tiny(**sections))
    assert caught.value.hint == near


def test_a_batch_that_processes_cannot_share_is_refused(tiny, monkeypatch):
    monkeypatch.setattr("medmllm.distributed.process", lambda: Process(0, 3))
    with pytest.raises(ConfigError) as caught:
        check_config(tiny(train={"batch_size": 8}))
    assert caught.value.hint == "train.batch_size=9"

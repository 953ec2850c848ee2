"""The end of a run: the saved model, the test, the pictures, the summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule

from medmllm.build import Job, build_model
from medmllm.data.guessing import majority_answers
from medmllm.data.source import shown_together
from medmllm.distributed import process
from medmllm.errors import MissingExtraError
from medmllm.evaluate.evaluate import predict, save_evaluation
from medmllm.evaluate.exam import drawn
from medmllm.evaluate.matching import Matching
from medmllm.evaluate.measurable import measurable
from medmllm.evaluate.scores import Sample, score
from medmllm.model.save import save_model
from medmllm.run.callbacks import Listener
from medmllm.run.folder import MATCHING_AFTER, MATCHING_BEFORE, RunFolder

EXAMPLES = 12


def conclude(job: Job, run: RunFolder, listener: Listener, *, seconds: float) -> dict[str, Any]:
    """`finish` in the first process; the others are done. A sharded model is put together there first."""
    if isinstance(job.model.packed, FSDPModule):
        weights = get_model_state_dict(job.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if process().rank == 0:
            job = replace(job, model=build_model(job.config, job.reader.encoder.tokenizer))
            job.model.load_state_dict(weights)
    return finish(job, run, listener, seconds=seconds) if process().rank == 0 else {}


def finish(job: Job, run: RunFolder, listener: Listener, *, seconds: float) -> dict[str, Any]:
    """Save the model, answer `eval.splits`, draw, and close the summary."""
    llava = job.model.packed.llava
    save_model(run.path / "model", llava, job.reader.processor, job.model.alignment, job.config.model)
    listener.message("answering the held-out questions")
    samples = {split: _answer(job, run, split) for split in job.config.eval.splits if split in job.splits}
    before, after = (Matching.from_dict(run.read_json(name)) for name in (MATCHING_BEFORE, MATCHING_AFTER))
    try:
        draw_pictures(job, run, before, after, next(iter(samples.values())))
    except MissingExtraError as error:
        listener.message(f"no pictures: {error.message} {error.hint}")
    return run.set_status("done", **_summary(job, run, before, after, list(samples)), seconds=round(seconds, 1))


def _answer(job: Job, run: RunFolder, split: str) -> list[Sample]:
    records = drawn(job.splits[split], job.config.eval.test_limit)
    samples = predict(job.model.packed.llava, job.reader, records, job.config.eval)
    save_evaluation(run, split, score(samples, majority_answers(job.records)), samples)
    return samples


def _summary(job: Job, run: RunFolder, before: Matching, after: Matching, splits: list[str]) -> dict[str, Any]:
    align = job.config.align
    return {
        "parameters": sum(p.numel() for p in job.model.packed.llava.parameters()),
        "trained_parameters": sum(p.numel() for p in job.model.parameters() if p.requires_grad),
        "align": {"loss": align.loss, "solver": align.solver, "estimator": align.estimator, "weight": align.weight},
        "caption_weight": job.config.train.caption_weight,
        "matching": {
            "before": before.accuracy,
            "after": after.accuracy,
            "chance": after.chance,
            "nodes": after.nodes,
            "graphs": after.graphs,
        },
        "left_out": left_out(job),
        **{split: run.read_json(f"eval/{split}.json") for split in splits},
    }


def left_out(job: Job) -> dict[str, int]:
    """How many rows of each split are not used; splits that lost none are not named."""
    return dict(Counter(one.split for one in job.skipped))


def draw_pictures(job: Job, run: RunFolder, before: Matching, after: Matching, samples: list[Sample]) -> None:
    """The pictures of a run."""
    from medmllm.plots.curves import plot_curves
    from medmllm.plots.examples import example_images
    from medmllm.plots.matching import matching_heatmap

    plots = run.path / "plots"
    plot_curves(run.lines(), plots / "curves.png")
    if measurable(after.chance):
        matching_heatmap(before.first, after.first, after.groups, plots / "matching.png")
    chosen = samples[:: max(1, len(samples) // EXAMPLES)][:EXAMPLES]
    example_images(chosen, [shown_together(job.source, s.record) for s in chosen], plots / "examples.png")

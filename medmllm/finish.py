"""The end of a run: the saved model, the test, the pictures, the summary."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from medmllm.build import Job
from medmllm.errors import DataError, MissingExtraError
from medmllm.evaluate.baselines import majority_answers
from medmllm.evaluate.evaluate import predict, save_evaluation, spread
from medmllm.evaluate.matching import Matching
from medmllm.evaluate.scores import Sample, score
from medmllm.model.save import save_model
from medmllm.run_folder import RunFolder

if TYPE_CHECKING:
    from medmllm.train import Listener

TESTS = ("test", "test_slab")
EXAMPLES = 12
MATCHING_BEFORE, MATCHING_AFTER = "eval/matching_before.json", "eval/matching_after.json"


def finish(job: Job, run: RunFolder, listener: Listener, *, seconds: float) -> dict[str, Any]:
    """Saves the model, answers the test splits, draws, and closes the summary."""
    llava = job.model.packed.llava
    save_model(run.path / "model", llava, job.reader.processor, job.model.alignment)
    listener.message("answering the test questions")
    samples = {split: _test(job, run, split) for split in TESTS if split in job.splits}
    before, after = (Matching.from_dict(run.read_json(name)) for name in (MATCHING_BEFORE, MATCHING_AFTER))
    try:
        draw(job, run, before, after, samples["test"])
    except MissingExtraError as error:
        listener.message(f"no pictures: {error.message} {error.hint}")
    return run.set_status("done", **_summary(job, run, before, after, list(samples)), seconds=round(seconds, 1))


def describe_data(job: Job) -> dict[str, Any]:
    """Files, hashes, rows and what was left out: `data.json`."""
    return {
        "source": job.config.data.source,
        "fraction": job.config.data.fraction,
        "files": job.source.files(),
        "rows": {split: len(records) for split, records in job.splits.items()},
        "kinds": dict(Counter(r.kind for r in job.records)),
        "skipped": [{"id": name, "reason": reason} for name, reason in job.skipped],
        "warnings": list(job.source.warnings),
    }


def check_data(job: Job, run: RunFolder) -> None:
    """Refuses to continue a run on data files that are not what they were."""
    before = {file["path"]: file["sha256"] for file in run.read_json("data.json")["files"]}
    now = {file["path"]: file["sha256"] for file in job.source.files()}
    changed = [path for path in before.keys() | now.keys() if before.get(path) != now.get(path)]
    if changed:
        raise DataError(
            f"The data changed since the run began: {', '.join(sorted(changed))}.",
            where=str(run.path / "data.json"),
            hint="put the old file back, or start a new run with another --out",
        )


def _test(job: Job, run: RunFolder, split: str) -> list[Sample]:
    records = spread(job.splits[split], job.config.eval.test_limit)
    samples = predict(job.model.packed.llava, job.reader, records, job.config.eval)
    save_evaluation(run, split, score(samples, majority_answers(job.records)), samples)
    return samples


def _summary(job: Job, run: RunFolder, before: Matching, after: Matching, splits: list[str]) -> dict[str, Any]:
    align = job.config.align
    return {
        "parameters": sum(p.numel() for p in job.model.packed.llava.parameters()),
        "trained_parameters": sum(p.numel() for p in job.model.parameters() if p.requires_grad),
        "align": {"solver": align.solver, "estimator": align.estimator, "weight": align.weight},
        "caption_weight": job.config.train.caption_weight,
        "matching": {
            "before": before.accuracy,
            "after": after.accuracy,
            "chance": after.chance,
            "nodes": after.nodes,
            "graphs": after.graphs,
        },
        **{split: run.read_json(f"eval/{split}.json") for split in splits},
    }


def draw(job: Job, run: RunFolder, before: Matching, after: Matching, samples: list[Sample]) -> None:
    """The pictures of a run."""
    from medmllm.plots.curves import curves
    from medmllm.plots.examples import example_images
    from medmllm.plots.matching import matching_heatmap

    plots = run.path / "plots"
    curves(run.lines(), plots / "curves.png")
    matching_heatmap(before.first, after.first, after.groups, plots / "matching.png")
    chosen = samples[:: max(1, len(samples) // EXAMPLES)][:EXAMPLES]
    example_images(chosen, [job.source.image(s.record) for s in chosen], plots / "examples.png")

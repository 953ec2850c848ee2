"""The card of a model: what it was made from and by, how well it does, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medmllm.evaluate.scan_window import own_window
from medmllm.run.folder import RunFolder
from medmllm.settings.load import load_config
from medmllm.text.escaping import markdown_cell

NOT_CLINICAL = (
    "**Not for clinical use.** This is research software's output, not a medical device. Nothing that it says may be "
    "used for diagnosis, treatment or any other clinical decision."
)


def model_card(run: Path) -> str:
    """Markdown with the front matter that the hub reads; what the run did not record is left out, not guessed."""
    folder = RunFolder(run)
    return "\n".join([*_front(folder), *_body(folder)]) + "\n"


def _front(run: RunFolder) -> Iterator[str]:
    yield from ("---", "library_name: transformers", "pipeline_tag: image-text-to-text", "license: other")
    bases = list(_bases(run))
    if bases:
        yield "base_model:"
        yield from (f"- {name}" for name in bases)
    yield from ("tags:", "- medical", "- llava", "---", "")


def _bases(run: RunFolder) -> Iterator[str]:
    if (run.path / "config.yaml").exists():
        model = load_config(str(run.path / "config.yaml")).model
        yield from (n for n in (model.source, model.language.pretrained, model.vision.pretrained) if n)


def _body(run: RunFolder) -> Iterator[str]:
    summary = _read(run, "summary.json")
    yield f"# {markdown_cell(str(summary.get('name', run.path.name)))}"
    yield f"\n{NOT_CLINICAL}\n"
    yield "A LLaVA that stock transformers opens: `LlavaForConditionalGeneration.from_pretrained(FOLDER)`."
    yield from _training(run, summary)
    yield from _data(_read(run, "data.json"))
    if window := own_window(run.path):
        yield f"- DICOM and NIfTI are shown in the window `{window}`, as they were in training"
    yield from _metrics(run)
    yield "\n## Licence\n"
    yield "The weights carry the licences of what they were made from: of the base models named above, and of the data."


def _training(run: RunFolder, summary: dict[str, Any]) -> Iterator[str]:
    yield "\n## Training\n"
    if "align" in summary:
        align = summary["align"]
        yield f"- alignment: {align['loss']}, weight {align['weight']:g}, {align['solver']} + {align['estimator']}"
    if "steps" in summary:
        yield f"- {summary['steps']} steps, seed {summary['seed']}"
    versions = _read(run, "environment.json").get("packages", {})
    if versions:
        told = ", ".join(
            f"{name} {versions[name]}" for name in ("exgra", "torch", "transformers") if versions.get(name)
        )
        yield f"- {told}"


def _data(data: dict[str, Any]) -> Iterator[str]:
    if not data:
        return
    yield "\n## Data\n"
    yield f"- source: {markdown_cell(data['source'])}, share {data['fraction']:g} of the training records"
    yield f"- rows: {', '.join(f'{count} {split}' for split, count in data['rows'].items())}"
    yield from (f"- {markdown_cell(Path(file['path']).name)}, SHA-256 `{file['sha256']}`" for file in data["files"])
    if data["source"] == "embedded":
        yield "- sources and licences of the images: `ATTRIBUTION.md` of the package's embedded data set"


def _metrics(run: RunFolder) -> Iterator[str]:
    found = {path.stem: _read(run, f"eval/{path.name}") for path in sorted((run.path / "eval").glob("*.json"))}
    scores = {name: s for name, s in found.items() if {"accuracy", "n"} <= s.keys()}
    if scores:
        yield "\n## Results\n\n| questions | n | exact answers |\n|---|---|---|"
        yield from (f"| {markdown_cell(name)} | {s['n']} | {100 * s['accuracy']:.1f} % |" for name, s in scores.items())


def _read(run: RunFolder, name: str) -> dict[str, Any]:
    return run.read_json(name) if (run.path / name).exists() else {}

"""The card of a model: what it was made from and by, how well it does, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphalign.counts import count_of
from medmllm.evaluate.scan_window import own_window
from medmllm.model import lora
from medmllm.model.hub import local
from medmllm.run.folder import RunFolder
from medmllm.settings.load import load_config
from medmllm.text.escaping import markdown_cell

NOT_CLINICAL = (
    "**Not for clinical use.** This is research software's output, not a medical device. Nothing that it says may be "
    "used for diagnosis, treatment or any other clinical decision."
)


ASK = """\
processor = AutoProcessor.from_pretrained(".", backend="pil")
image = Image.open("image.png").convert("RGB")
question = [{"type": "image"}, {"type": "text", "text": "What is shown?"}]
prompt = processor.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)
inputs = processor(images=image, text=prompt, add_special_tokens=False, return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1] :]
print(processor.decode(answer, skip_special_tokens=True))
"""
WHOLE = f"""\
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

model = LlavaForConditionalGeneration.from_pretrained(".")
{ASK}"""
ADAPTERS = f"""\
from peft import AutoPeftModel
from PIL import Image
from transformers import AutoProcessor

model = AutoPeftModel.from_pretrained(".")
{ASK}"""
NO_BASE = f"""\
from pathlib import Path

from medmllm.model.opening import open_llava
from PIL import Image
from transformers import AutoProcessor

model = open_llava(Path("."))
{ASK}"""


def model_card(run: Path, model: Path) -> str:
    """Markdown with the front matter that the hub reads; what the run did not record is left out, not guessed.

    Args:
        run: what the model was trained in.
        model: the folder that the card is for, with everything else in it.
    """
    folder = RunFolder(run)
    adapter = _read(RunFolder(model), lora.CONFIG)
    return "\n".join([*_front(folder, adapter), *_body(folder, adapter)]) + "\n"


def _front(run: RunFolder, adapter: dict[str, Any]) -> Iterator[str]:
    library = "peft" if adapter else "transformers"
    yield from ("---", f"library_name: {library}", "pipeline_tag: image-text-to-text", "license: other")
    bases = list(_bases(run))
    if bases:
        yield "base_model:"
        yield from (f"- {name}" for name in bases)
    if adapter:
        yield "base_model_relation: adapter"
    yield from ("tags:", "- medical", "- llava", "---", "")


def _bases(run: RunFolder) -> Iterator[str]:
    if (run.path / "config.yaml").exists():
        model = load_config(str(run.path / "config.yaml")).model
        named = (model.source, model.language.pretrained, model.vision.pretrained)
        yield from (name for name in named if name and not local(name))  # the hub refuses what is not on it


def _body(run: RunFolder, adapter: dict[str, Any]) -> Iterator[str]:
    summary = _read(run, "summary.json")
    yield f"# {markdown_cell(str(summary.get('name', run.path.name)))}"
    yield f"\n{NOT_CLINICAL}\n"
    yield from _use(adapter)
    yield from _training(run, summary)
    yield from _data(_read(run, "data.json"))
    if window := own_window(run.path):
        yield f"- DICOM and NIfTI are shown in the window `{window}`, as they were in training"
    yield from _metrics(run)
    yield "\n## Licence\n"
    yield "The weights carry the licences of what they were made from: of the base models named above, and of the data."


def _use(adapter: dict[str, Any]) -> Iterator[str]:
    """Contents of the folder, and lines that open it and ask it about an image."""
    if not adapter:
        yield "A LLaVA that stock transformers, 4 or 5, opens. In this folder:"
        code = WHOLE
    elif adapter["base_model_name_or_path"]:
        yield "Low-rank adapters for a LLaVA, with its projector, that peft opens over their base,"
        yield f"`{adapter['base_model_name_or_path']}` (`adapter_config.json` names it). In this folder:"
        code = ADAPTERS
    else:
        yield "Low-rank adapters for a LLaVA, with its projector. They lie over parts that `config.yaml` names;"
        yield "`exgra export RUN FOLDER --format lora --base BASE` writes these parts as one model, over which peft"
        yield "opens them. As they are, with the package exgra, in this folder:"
        code = NO_BASE
    yield f"\n```python\n{code}```\n"
    yield "`backend` has no effect in transformers 4; in transformers 5 it prepares images as in training where"
    yield "torchvision is installed too."


def _training(run: RunFolder, summary: dict[str, Any]) -> Iterator[str]:
    yield "\n## Training\n"
    if "align" in summary:
        align = summary["align"]
        yield f"- alignment: {align['loss']}, weight {align['weight']:g}, {align['solver']} + {align['estimator']}"
    if "steps" in summary:
        yield f"- {count_of(summary['steps'], 'step')}, seed {summary['seed']}"
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

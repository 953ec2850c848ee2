"""Whether exported models give equal logits wherever they are opened: language model x rotary positions x tower x
connector x adapters x layout x release of transformers.

    python benchmarks/exports.py --release 4.57.6 --release 5.17.0 --release 5.24.0 --out exports-cpu.json.gz

Each model is made of tiny parts in float32, whose language model has weights large enough for attention to differ from
place to place. A cell is the greatest difference between the logits of the model before it is saved and those of its
export, opened as its card says: by `LlavaForConditionalGeneration`, or by `AutoPeftModel` over the base that
`exgra export --base` wrote. Text and image are longer than the length that the scaled positions start from.

Every release is installed in an environment of its own, beside the torch of this one; the release of this environment
takes part without one. Transformers 4 opens the layout v4 alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    LlamaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
)
from transformers.utils import logging

from medmllm.interop.export import export
from medmllm.model.assemble import assemble, processor
from medmllm.model.save import save_model
from medmllm.model.vocabulary import make_tokenizer
from medmllm.settings.load import dump, load_config

TRAINED, LONGEST = 16, 32  # positions that the scaling starts from, and those of the model
WIDTH = {"hidden_size": 32, "num_attention_heads": 2}
TEXT = {**WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_key_value_heads": 1, "head_dim": 16}
TOWER = {**WIDTH, "num_hidden_layers": 4, "image_size": 28, "patch_size": 14}
LANGUAGES = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}
ROTARY: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": TRAINED},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": TRAINED,
    },
    "longrope": {
        "factor": 4.0,
        "short_factor": [1 + 0.1 * i for i in range(8)],
        "long_factor": [2 + 0.3 * i for i in range(8)],
        "original_max_position_embeddings": TRAINED,
    },
}
TOWERS = {
    "clip": CLIPVisionConfig(intermediate_size=64, **TOWER),
    "siglip": SiglipVisionConfig(intermediate_size=64, **TOWER),
    "dinov2": Dinov2Config(**TOWER),
    "registers": Dinov2WithRegistersConfig(num_register_tokens=3, **TOWER),
}
CONNECTORS = ("none", "sci", "dci")
FORMS = ("hf", "merged", "lora")  # without adapters; with them, merged; with them, over their base
LAYOUTS = ("v4", "v5")
CLOSE = 1e-4
# Answers each line {"folder", "adapters", "inputs", "logits"} with the greatest difference.
READER = """
import json, sys, warnings
import torch
from transformers import LlavaForConditionalGeneration, __version__
from transformers.utils import logging

warnings.simplefilter("ignore")
logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)
print(json.dumps(__version__), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["adapters"]:
        from peft import AutoPeftModel

        model = AutoPeftModel.from_pretrained(asked["folder"])
    else:
        model, info = LlavaForConditionalGeneration.from_pretrained(asked["folder"], output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"], info
    with torch.no_grad():
        logits = model.eval()(**torch.load(asked["inputs"])).logits
    print(json.dumps(float((logits - torch.load(asked["logits"])).abs().max())), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", action="append", default=[], help="another release of transformers, e.g. 4.57.6")
    parser.add_argument("--language", action="append", choices=LANGUAGES, help="these alone")
    parser.add_argument("--rotary", action="append", choices=ROTARY, help="these alone")
    parser.add_argument("--out", type=Path, help="write the document, compressed, here too")
    options = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    chosen = (options.language or LANGUAGES, options.rotary or ROTARY, TOWERS, CONNECTORS)
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        readers = [stack.enter_context(Reader(sys.executable))]
        for release in options.release:
            readers.append(stack.enter_context(Reader(environment(Path(place) / release, release))))
        cells = []
        for parts in product(*chosen):
            cells += list(compare(Path(place) / "model", parts, readers))
            print(*parts, f"{max(max(cell['differences'].values()) for cell in cells[-6:]):.1e}", file=sys.stderr)
    versions = {name: version(name) for name in ("exgra", "torch", "peft")}
    document = {"versions": versions, "releases": [reader.release for reader in readers], "cells": cells}
    if options.out:
        options.out.write_bytes(gzip.compress(json.dumps(document).encode(), mtime=0))
    print(table(document))


class Reader:
    """A process of an environment that opens exports; one for all, as importing takes longer than opening."""

    def __init__(self, python: Path | str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([str(python), "-c", READER], stdin=pipe, stdout=pipe, text=True)
        self.release: str = self._answer()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *failure: object) -> None:
        self.process.communicate()

    def difference(self, folder: Path, made: Path, *, adapters: bool) -> float:
        """The greatest difference between an export's logits and those that were kept beside its making."""
        asked = {"folder": str(folder), "adapters": adapters}
        asked |= {name: str(made / f"{name}.pt") for name in ("inputs", "logits")}
        assert self.process.stdin is not None
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        return rounded(self._answer())

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a release could not open an export")
        return json.loads(line)


def rounded(value: Any) -> float:
    return float(f"{float(value):.2g}")


def environment(folder: Path, release: str) -> Path:
    """Python with a release of transformers, and for the rest with the packages of this environment."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", f"transformers=={release}", "pillow"], check=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "after_its_own.pth").write_text(sysconfig.get_paths()["purelib"])
    return python


def compare(place: Path, parts: tuple[str, str, str, str], readers: list[Reader]) -> Iterator[dict[str, Any]]:
    """The cells of one model: every form and layout, opened by every reader."""
    names = dict(zip(("language", "rotary", "tower", "connector"), parts, strict=True))
    for adapted in (False, True):
        shutil.rmtree(place, ignore_errors=True)
        made = make(place, **names, adapted=adapted)
        largest = rounded(torch.load(place / "logits.pt").abs().max())
        for form, layout in product(FORMS[1:] if adapted else FORMS[:1], LAYOUTS):
            out = place / f"{form}-{layout}"
            base = place / f"base-{layout}" if form == "lora" else None
            export(made, out, form=form, layout=layout, base=base)
            able = [reader for reader in readers if layout == "v4" or not reader.release.startswith("4.")]
            found = {reader.release: reader.difference(out, place, adapters=form == "lora") for reader in able}
            yield {**names, "form": form, "layout": layout, "largest": largest, "differences": found}


def make(place: Path, *, language: str, rotary: str, tower: str, connector: str, adapted: bool) -> Path:
    """A run's folder with a model, and beside it what it is asked and what it answers."""
    place.mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        write_language(place / "language", language, rotary)
        AutoModel.from_config(TOWERS[tower]).save_pretrained(place / "tower")
        words = [f"model.vision.pretrained={place / 'tower'}", f"model.vision.connector={connector}"]
        words += [f"model.language.pretrained={place / 'language'}", f"model.language.max_length={LONGEST}"]
        words += ["model.vision.feature_layer=-2", f"model.lora.rank={2 if adapted else 0}"]
        config = load_config("demo", words)
        tokenizer = make_tokenizer(config.model, ())
        llava = assemble(config.model, tokenizer, seed=0)
        for name, value in llava.named_parameters():
            if "lora_B" in name or "multi_modal_projector" in name:
                torch.nn.init.normal_(value, std=0.3)
    save_model(
        place / "run" / "model",
        llava,
        processor(config.model, llava.config, tokenizer),
        torch.nn.Identity(),
        config.model,
    )
    (place / "run" / "config.yaml").write_text(dump(config))
    ask(llava, place)
    return place / "run"


def write_language(folder: Path, kind: str, rotary: str) -> None:
    """A language model whose attention differs from place to place, and a tokenizer without a token for images."""
    words = {
        letter: number for number, letter in enumerate(["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])
    }
    core = Tokenizer(models.BPE(vocab=words, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    turning = {"rope_type": rotary, "rope_theta": 500.0, **ROTARY[rotary]}
    config = LANGUAGES[kind](
        vocab_size=len(words),
        max_position_embeddings=LONGEST,
        rope_parameters=turning,
        bos_token_id=0,
        eos_token_id=1,
        **TEXT,
    )
    model = AutoModelForCausalLM.from_config(config)
    for value in model.model.parameters():
        if value.ndim == 2:
            value.data *= 8
    model.save_pretrained(folder)


def ask(llava: LlavaForConditionalGeneration, place: Path) -> None:
    """Keep inputs, an image and more words than the positions were made for, and the logits of the model as it is."""
    image = [llava.config.image_token_id] * llava.config.image_seq_length
    words = torch.randint(2, 250, (LONGEST + 8,), generator=torch.Generator().manual_seed(2))
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(3))
    inputs = {"input_ids": torch.tensor([[0, *image, *words.tolist()]]), "pixel_values": pixels}
    llava.eval().set_attn_implementation("sdpa")
    with torch.no_grad():
        logits = llava(**inputs).logits
    torch.save(inputs, place / "inputs.pt")
    torch.save(logits, place / "logits.pt")


def table(document: dict[str, Any]) -> str:
    """The document as tables in Markdown: the greatest difference over all that a row and a column leave open."""
    cells, releases = document["cells"], document["releases"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    size = min(cell["largest"] for cell in cells)
    lines = [
        f"{len(cells)} exports; {versions}. Columns are releases of transformers; cells, the greatest difference of a",
        f"logit. The largest logit of a model is {size:.1f} or more.",
        "",
    ]
    for axes in (("language", "rotary"), ("tower", "connector"), ("form", "layout")):
        lines += [
            "| " + " | ".join((*axes, *releases)) + " |",
            "| " + " | ".join(["---"] * 2 + ["--:"] * len(releases)) + " |",
        ]
        for names in dict.fromkeys(tuple(cell[axis] for axis in axes) for cell in cells):
            rows = [cell["differences"] for cell in cells if tuple(cell[axis] for axis in axes) == names]
            lines.append("| " + " | ".join((*names, *(greatest(rows, release) for release in releases))) + " |")
        lines.append("")
    return "\n".join(lines)


def greatest(rows: list[dict[str, float]], release: str) -> str:
    found = [row[release] for row in rows if release in row]
    return f"{max(found):.1e}" if found else "-"


if __name__ == "__main__":
    main()

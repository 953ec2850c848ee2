"""Exports open elsewhere with the same outputs, and say what they are."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, LlavaForConditionalGeneration

from medmllm.errors import ConfigError
from medmllm.interop.export import base_name, check_for_vllm, export
from medmllm.model.opening import open_llava, with_adapter
from medmllm.training.trainer import train
from tests.medmllm.model.checkpoints import language, tower

LOGITS = """
import json, sys
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration, __version__

torch.set_num_threads(1)
folder, image = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder)
model, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True, torch_dtype=torch.float32)
talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where is the box?"}]}]
text = processor.apply_chat_template(talk)
inputs = processor(images=Image.open(image).convert("RGB"), text=text, return_tensors="pt", add_special_tokens=False)
with torch.no_grad():
    logits = model.eval()(**inputs).logits[0, -1].tolist()
found = {"version": __version__, "ids": inputs["input_ids"][0].tolist(), "logits": logits}
print(json.dumps({**found, "missing": list(info["missing_keys"]), "unexpected": list(info["unexpected_keys"])}))
"""


ASKED = {
    "input_ids": torch.tensor([[1, *[262] * 4, 9, 20, 30, 40]]),
    "pixel_values": torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(0)),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny):
    """Two finished runs: `plain`, from scratch, and `adapted`, with adapters over a pretrained model of tied words."""
    place = tmp_path_factory.mktemp("exported")
    train(tiny(train={"steps": 2}), place / "plain")
    model = {
        "vision": {"pretrained": str(tower(place / "clip")), "feature_layer": -2, "connector": "dci"},
        "language": {"pretrained": str(language(place / "llama", tokens="bytes", theta=5e4)), "max_length": 256},
        "lora": {"rank": 2},
    }
    train(tiny(model=model, train={"steps": 2, "lr": 1e-2}), place / "adapted")
    return place


def logits_of(python, folder, image):
    done = subprocess.run([python, "-c", LOGITS, folder, image], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("layout", ["v4", "v5"])
def test_a_whole_model(runs, tmp_path, layout):
    export(runs / "plain", tmp_path / "out", layout=layout)
    names = [name for name in load_file(tmp_path / "out" / "model.safetensors") if "vision_tower" in name]
    assert all((".vision_model." in name) == (layout == "v4") for name in names)
    _, info = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert (tmp_path / "out" / "alignment.safetensors").exists()


def test_a_merged_model_is_the_adapted_one(runs, tmp_path):
    export(runs / "adapted", tmp_path / "out", form="merged")
    stock = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    ours = with_adapter(runs / "adapted" / "model").eval()
    ours.set_attn_implementation("sdpa")
    ids = torch.tensor([[1, *[stock.config.image_token_id] * 4, 9, 20]])
    asked = {"input_ids": ids, "pixel_values": torch.ones(1, 3, 28, 28)}
    torch.testing.assert_close(stock(**asked).logits, ours(**asked).logits, rtol=1e-5, atol=1e-5)


def test_adapters_alone_open_again(runs, tmp_path):
    export(runs / "adapted", tmp_path / "out", form="lora")
    assert not (tmp_path / "out" / "config.json").exists()  # transformers 5 would take it for a whole model
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["auto_mapping"] == {
        "base_model_class": "LlavaForConditionalGeneration",
        "parent_library": "transformers",
    }
    saved = load_file(runs / "adapted" / "model" / "adapter_model.safetensors")
    again = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in saved.items())
    with_adapter(tmp_path / "out")


def test_who_exports_adapters_without_their_base_is_told_how_to_write_it(runs, tmp_path, capsys):
    from exgra.commands.export import Form, Names
    from exgra.commands.export import export as command

    command(runs / "adapted", tmp_path / "alone", form=Form.lora, layout=Names.v4)
    assert base_name(tmp_path / "alone") is None
    assert "--base FOLDER" in capsys.readouterr().err
    command(runs / "adapted", tmp_path / "out", form=Form.lora, layout=Names.v4, base=tmp_path / "base")
    assert base_name(tmp_path / "out") == str(tmp_path / "base")
    assert "warning" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def over_base(runs):
    """The adapters of a run over parts, and the base that is written beside them."""
    folders = runs / "adapters", runs / "base"
    export(runs / "adapted", folders[0], form="lora", base=folders[1])
    return folders


def asked_of(model):
    image = model.config.image_token_id
    ids = ASKED["input_ids"].masked_fill(ASKED["input_ids"] == 262, image)
    with torch.no_grad():
        return model.eval()(**ASKED | {"input_ids": ids}).logits


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_adapters_over_parts_open_over_the_base_that_is_written(runs, over_base, monkeypatch, tmp_path):
    from peft import AutoPeftModel, PeftModel

    adapters, base = over_base
    monkeypatch.chdir(tmp_path)  # the base is found from any folder
    ours = with_adapter(runs / "adapted" / "model")
    ours.set_attn_implementation("sdpa")
    plain = LlavaForConditionalGeneration.from_pretrained(base)
    assert len(plain.get_input_embeddings().weight) > plain.config.text_config.vocab_size - 3  # rows of new tokens
    assert (asked_of(plain) - asked_of(ours)).abs().max() > 1e-2
    for opened in (
        AutoPeftModel.from_pretrained(adapters),
        PeftModel.from_pretrained(plain, adapters),
        LlavaForConditionalGeneration.from_pretrained(adapters),
    ):
        torch.testing.assert_close(asked_of(opened), asked_of(ours), rtol=1e-5, atol=1e-5)


def test_an_export_that_fails_leaves_no_folder(runs, tmp_path, monkeypatch):
    shutil.copytree(runs / "adapted", tmp_path / "run")
    (tmp_path / "run" / "model" / "adapter_model.safetensors").unlink()
    with pytest.raises(ConfigError, match="model is damaged"):
        export(tmp_path / "run", tmp_path / "out", form="lora", base=tmp_path / "base")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


CARDS = {
    "whole": lambda runs, out: export(runs / "plain", out),
    "newer": lambda runs, out: export(runs / "plain", out, layout="v5"),
    "merged": lambda runs, out: export(runs / "adapted", out, form="merged"),
    "adapters": lambda runs, out: export(runs / "adapted", out, form="lora", base=out.with_name("base")),
    "alone": lambda runs, out: export(runs / "adapted", out, form="lora"),
}


def lines_of(card):
    """The program in a card."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", card.read_text(), re.MULTILINE | re.DOTALL)
    return program


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("kind", CARDS)
def test_every_line_of_a_card_runs(runs, drawn, tmp_path, monkeypatch, capsys, kind):
    out = CARDS[kind](runs, tmp_path / "out")
    shutil.copy(drawn.parent / "images" / "3.png", out / "image.png")
    monkeypatch.chdir(out)
    exec(compile(lines_of(out / "README.md"), "README.md", "exec"), page := {})
    model = open_llava(out).eval()
    model.set_attn_implementation("sdpa")
    said = model.generate(**page["inputs"], max_new_tokens=64)[0, page["inputs"]["input_ids"].shape[1] :]
    assert page["answer"].tolist() == said.tolist()
    assert capsys.readouterr().out == page["processor"].decode(said, skip_special_tokens=True) + "\n"


def test_the_card_of_adapters_is_one_for_peft(runs, over_base):
    adapters, base = over_base
    text = (adapters / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: peft\n")
    assert "base_model_relation: adapter" in text
    assert f"`{base}`" in text


def test_the_card_says_what_it_is(runs, tmp_path):
    text = (export(runs / "plain", tmp_path / "out") / "README.md").read_text()
    summary = json.loads((runs / "plain" / "summary.json").read_text())
    assert "Not for clinical use" in text
    assert f"{100 * summary['test']['accuracy']:.1f} %" in text
    assert json.loads((runs / "plain" / "data.json").read_text())["files"][0]["sha256"] in text
    assert "## Licence" in text
    assert text.startswith("---\nlibrary_name: transformers\n")


def test_what_cannot_be_exported_is_refused(runs, tmp_path):
    with pytest.raises(ConfigError, match="has no adapters"):
        export(runs / "plain", tmp_path / "out", form="lora")
    with pytest.raises(ConfigError, match="exists already"):
        export(runs / "plain", tmp_path)
    with pytest.raises(ConfigError, match="only adapters have a base"):
        export(runs / "plain", tmp_path / "out", base=tmp_path / "base")
    with pytest.raises(ConfigError, match="exists already"):
        export(runs / "adapted", tmp_path / "out", form="lora", base=tmp_path)
    with pytest.raises(ConfigError, match="holds no model"):
        export(tmp_path, tmp_path / "out")


def test_what_vllm_cannot_open_is_refused(runs, tmp_path):
    assert (export(runs / "plain", tmp_path / "served", server="vllm") / "model.safetensors").exists()
    for run, options, words in (
        ("adapted", {}, "reads one layer of the tower, and this projector reads 5"),
        ("adapted", {"form": "lora"}, "no adapters with a projector"),
        ("plain", {"layout": "v5"}, "in the layout v4"),
    ):
        with pytest.raises(ConfigError, match=words):
            export(runs / run, tmp_path / "out", server="vllm", **options)
    llava = open_llava(runs / "plain" / "model")
    llava.config.vision_config = AutoConfig.for_model("dinov2")
    with pytest.raises(ConfigError, match="no tower dinov2"):
        check_for_vllm(llava.config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served"]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("run", ["plain", "adapted"])
def test_transformers_4_reads_it_with_the_same_outputs(runs, drawn, tmp_path, run):
    older = tmp_path / "older"
    subprocess.run([sys.executable, "-m", "venv", older], check=True)
    python = older / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "transformers==4.57.6"], check=True)
    site = next((older / "lib").glob("python*/site-packages"))
    (site / "torch_of_the_tests.pth").write_text(sysconfig.get_paths()["purelib"])  # after its own packages
    export(runs / run, tmp_path / "out", form="merged" if run == "adapted" else "hf")
    image = str(drawn.parent / "images" / "3.png")
    ours, theirs = (logits_of(p, str(tmp_path / "out"), image) for p in (sys.executable, str(python)))
    assert theirs["version"] == "4.57.6"
    assert not theirs["missing"]
    assert not theirs["unexpected"]
    assert theirs["ids"] == ours["ids"]
    torch.testing.assert_close(torch.tensor(theirs["logits"]), torch.tensor(ours["logits"]), rtol=1e-5, atol=1e-5)
    shutil.rmtree(older)


def test_the_command_writes_a_folder(runs, tmp_path, capfd):
    from exgra.main import run

    assert run(["export", str(runs / "plain"), str(tmp_path / "out"), "--json"]) == 0
    assert "model.safetensors" in json.loads(capfd.readouterr().out)["files"]
    assert run(["export", str(runs / "plain"), str(tmp_path / "out")]) == 2
    assert Path(tmp_path / "out" / "README.md").exists()

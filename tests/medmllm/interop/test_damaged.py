"""Damaged models of runs, exports, adapters and `model.source` are a sentence, never other answers."""

import json
import shutil
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file, save_file

from medmllm.errors import ConfigError, UserError
from medmllm.evaluate.loading import load_model
from medmllm.interop.export import export
from medmllm.run.checksums import NAME
from medmllm.training.trainer import train
from tests.medmllm.model.checkpoints import language, tower


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny):
    """The model of a run, its export, and one of adapters, each with its own sums."""
    place = tmp_path_factory.mktemp("models")
    train(tiny(train={"steps": 2}), place / "plain")
    model = {
        "vision": {"pretrained": str(tower(place / "clip")), "feature_layer": -2},
        "language": {"pretrained": str(language(place / "llama", tokens="bytes", theta=5e4)), "max_length": 256},
        "lora": {"rank": 2},
    }
    train(tiny(model=model, train={"steps": 2, "lr": 1e-2}), place / "adapted")
    export(place / "plain", place / "exported")
    export(place / "adapted", place / "lora", form="lora")
    return {"run": place / "plain/model", "export": place / "exported", "adapter": place / "lora"}


def flip(content, share):
    content = bytearray(content)
    content[int(share * (len(content) - 1))] ^= 1
    return bytes(content)


BYTES = {
    "empty": lambda content: b"",
    "cut in the header": lambda content: content[:100],
    "cut in the weights": lambda content: content[:-100],
    "flipped in the length": lambda content: flip(content, 0),
    "flipped in the header": lambda content: content[:20] + flip(content[20:21], 0) + content[21:],
    "flipped in the weights": lambda content: flip(content, 0.9),
    "a header of any length": lambda content: (2**62).to_bytes(8, "little") + content[8:],
    "a pickle": lambda content: b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "missing": None,
}
WEIGHTS = {
    "a weight is missing": lambda held: held.popitem(),
    "a weight too many": lambda held: held.update({"model.language_model.more": torch.zeros(3)}),
    "a weight of another shape": lambda held: held.update({max(held): torch.zeros(7, 3)}),
}


def damage(folder, how):
    path = next(folder.glob("*model.safetensors"))
    if how in WEIGHTS:
        held = load_file(path)
        WEIGHTS[how](held)
        save_file(held, path, metadata={"format": "pt"})
    elif BYTES[how] is None:
        path.unlink()
    else:
        path.write_bytes(BYTES[how](path.read_bytes()))


@pytest.mark.parametrize("kind", ["run", "export", "adapter"])
@pytest.mark.parametrize("how", [*BYTES, *WEIGHTS])
@pytest.mark.parametrize("sums", [True, False], ids=["with sums", "without sums"])
def test_damaged_weights_are_refused(models, tmp_path, kind, how, sums):
    if not sums and how == "flipped in the weights":
        return  # nothing but the sums can show it
    folder = shutil.copytree(models[kind], tmp_path / "model")
    damage(folder, how)
    if not sums:
        (folder / NAME).unlink()
    with pytest.raises(UserError) as caught:
        load_model(folder, None)
    assert caught.value.hint
    assert str(folder) in caught.value.where + caught.value.message


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "processor_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "\x00" * 40], ids=repr)
@pytest.mark.parametrize("sums", [True, False], ids=["with sums", "without sums"])
def test_other_damaged_files_are_refused_or_of_no_use(models, tmp_path, name, content, sums):
    folder = shutil.copytree(models["export"], tmp_path / "model")
    (folder / name).write_text(content)
    if not sums:
        (folder / NAME).unlink()
        with suppress(UserError):  # or the file is of no use to this model
            load_model(folder, None)
        return
    with pytest.raises(UserError, match="damaged"):
        load_model(folder, None)


@pytest.mark.parametrize("how", [*BYTES, *WEIGHTS])
def test_a_damaged_source_of_a_run_is_refused(models, tiny, tmp_path, how):
    folder = shutil.copytree(models["run"], tmp_path / "model")
    damage(folder, how)
    with pytest.raises(ConfigError) as caught:
        train(tiny(model={"source": str(folder)}, train={"steps": 1}), tmp_path / "run")
    assert str(folder) in caught.value.where + caught.value.message
    assert not (tmp_path / "run").exists()


def test_sums_are_those_of_sha256sum_and_the_card_may_be_edited(models, tmp_path):
    folder = shutil.copytree(models["export"], tmp_path / "model")
    listed = dict(reversed(line.split("  ")) for line in (folder / NAME).read_text().splitlines())
    assert {"model.safetensors", "config.json", "tokenizer.json", "alignment.safetensors"} <= listed.keys()
    assert "README.md" not in listed
    (folder / "README.md").write_text("my own card")
    load_model(folder, None)


def test_a_changed_file_is_found_also_after_a_sound_look(models, tmp_path):
    folder = shutil.copytree(models["export"], tmp_path / "model")
    load_model(folder, None)
    tree = json.loads((folder / "config.json").read_text())
    tree["text_config"]["rms_norm_eps"] = 0.5
    (folder / "config.json").write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match=r"config\.json is not as it was saved"):
        load_model(folder, None)

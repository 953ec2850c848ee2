"""Saved models open in other releases of transformers with equal ids, pixels, logits and answers."""

import json
import subprocess
import sys
import sysconfig

import numpy as np
import pytest
from PIL import Image

from medmllm.interop.convert import convert
from medmllm.training.trainer import train
from tests.medmllm.interop.released import KINDS, released

VERSIONS = ("4.57.6", "5.17.0", "5.23.0", "5.24.0")
ASK = """
import json, sys
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration, __version__

torch.set_num_threads(1)
image, *folders = sys.argv[1:]
found = {"version": __version__}
for folder in folders:
    processor = AutoProcessor.from_pretrained(folder)
    model, info = LlavaForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True, torch_dtype=torch.float32
    )
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where is the box?"}]}]
    talk += [{"role": "assistant", "content": [{"type": "text", "text": "Left."}]}]
    talk += [{"role": "user", "content": [{"type": "text", "text": "Is it so?"}]}]
    text = processor.apply_chat_template(talk, add_generation_prompt=True)
    inputs = processor(images=Image.open(image), text=text, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        logits = model.eval()(**inputs).logits[0, -1]
        said = model.generate(**inputs, max_new_tokens=5, do_sample=False)[0, inputs["input_ids"].shape[1]:]
    found[folder] = {
        "ids": inputs["input_ids"][0].tolist(), "said": said.tolist(),
        "pixels": inputs["pixel_values"].flatten().tolist(), "logits": logits.tolist(),
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny):
    """An image that is not square, and the folders of a run's model and of every released layout, converted."""
    place = tmp_path_factory.mktemp("saved")
    train(tiny(train={"steps": 2}), place / "run")
    for name in KINDS:
        convert(released(place / "original" / name, name), place / name)
    noise = np.random.default_rng(3).integers(0, 256, (33, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(place / "noise.png")
    return str(place / "noise.png"), [str(place / "run" / "model"), *(str(place / name) for name in KINDS)]


def asked(python, saved):
    image, folders = saved
    done = subprocess.run([python, "-c", ASK, image, *folders], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("version", VERSIONS)
def test_a_saved_model_is_the_same_in_another_release(saved, tmp_path, version):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "other"], check=True)
    python = tmp_path / "other" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", f"transformers=={version}", "pillow"], check=True)
    site = next((tmp_path / "other" / "lib").glob("python*/site-packages"))
    (site / "torch_of_the_tests.pth").write_text(sysconfig.get_paths()["purelib"])  # after its own packages
    ours, theirs = asked(sys.executable, saved), asked(python, saved)
    assert theirs.pop("version") == version
    for folder, found in theirs.items():
        assert (found["ids"], found["said"]) == (ours[folder]["ids"], ours[folder]["said"])
        for name in ("pixels", "logits"):
            np.testing.assert_allclose(found[name], ours[folder][name], rtol=1e-5, atol=1e-5)

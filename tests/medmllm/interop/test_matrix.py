"""Exports of every family, rotary position, tower and connector give equal logits, with adapters and without."""

import json
import runpy
import sys
from itertools import cycle, islice, product
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, LlavaConfig, LlavaForConditionalGeneration

from medmllm.interop.convert import convert
from medmllm.model.save import save_llava
from tests.medmllm.interop.released import released

PROGRAM = Path(__file__).resolve().parents[3] / "benchmarks" / "exports.py"
MATRIX = runpy.run_path(str(PROGRAM))
PAIRS = list(product(MATRIX["LANGUAGES"], MATRIX["ROTARY"]))
CONNECTED = list(product(MATRIX["TOWERS"], MATRIX["CONNECTORS"]))
# Every family with every kind of positions, and with each tower and connector in turn.
ALL = [(*pair, *more) for pair, more in zip(PAIRS, islice(cycle(CONNECTED), len(PAIRS)), strict=True)]
FEW = [ALL[number] for number in (11, 16)]  # longrope below registers, llama3 below SigLIP


@pytest.fixture
def older(tmp_path):
    """Writes a LLaVA with such positions in the older layout; gives the model and its text configuration as written."""

    def write(language, rotary):
        MATRIX["write_language"](tmp_path / "language", language, rotary)
        text = AutoConfig.from_pretrained(tmp_path / "language")
        config = LlavaConfig(vision_config=MATRIX["TOWERS"]["clip"], text_config=text, image_token_index=257)
        llava = LlavaForConditionalGeneration(config).eval()
        save_llava(llava, tmp_path / "llava")
        return llava, json.loads((tmp_path / "llava" / "config.json").read_text())["text_config"]

    return write


@pytest.mark.parametrize(("language", "rotary"), PAIRS)
def test_scaled_positions_are_written_where_transformers_4_reads_them(older, tmp_path, language, rotary):
    llava, text = older(language, rotary)
    wanted = {"rope_type": rotary, **MATRIX["ROTARY"][rotary]}
    assert text["rope_theta"] == 500.0
    if rotary == "default":
        assert "rope_scaling" not in text
    else:
        assert text["rope_scaling"].items() >= wanted.items()
        assert "rope_theta" not in text["rope_scaling"]
    again = LlavaForConditionalGeneration.from_pretrained(tmp_path / "llava")
    ours, theirs = (model.model.language_model.rotary_emb for model in (llava, again))
    assert torch.equal(ours.inv_freq, theirs.inv_freq)
    assert ours.attention_scaling == theirs.attention_scaling


def test_transformers_4_reads_what_longrope_was_trained_with_beside_the_scaling(older):
    """It takes the trained length there, and would compute the attention factor from the ratio of lengths."""
    llava, text = older("llama", "longrope")
    assert text["original_max_position_embeddings"] == MATRIX["TRAINED"]
    factor = (1 + torch.tensor(4.0).log() / torch.tensor(MATRIX["TRAINED"]).log()).sqrt()  # section 3.2 of the paper
    assert text["rope_scaling"]["attention_factor"] == pytest.approx(factor.item(), rel=1e-6)
    assert llava.model.language_model.rotary_emb.attention_scaling == pytest.approx(factor.item(), rel=1e-6)


def test_scaled_positions_of_an_original_checkpoint_are_kept(tmp_path):
    """Vicuna-16k writes its scaling under `type`, as transformers did then."""
    place = released(tmp_path / "original", "llava-v1.5", rope_scaling={"type": "linear", "factor": 4.0})
    config = convert(place, tmp_path / "scaled")
    assert (config.text_config.rope_parameters["rope_type"], config.text_config.rope_parameters["factor"]) == (
        "linear",
        4,
    )
    text = json.loads((tmp_path / "scaled" / "config.json").read_text())["text_config"]
    assert (text["rope_scaling"]["rope_type"], text["rope_scaling"]["factor"]) == ("linear", 4.0)
    scaled = LlavaForConditionalGeneration.from_pretrained(tmp_path / "scaled")
    frequencies = scaled.model.language_model.rotary_emb.inv_freq
    torch.testing.assert_close(frequencies, 1e4 ** (-torch.arange(0, 8, 2) / 8) / 4)


def test_unscaled_positions_would_be_seen(tmp_path):
    """The models of the matrix answer otherwise where the scaling is not read, far beyond its tolerance."""
    for rotary in MATRIX["ROTARY"]:
        if rotary == "default":
            continue
        place = tmp_path / rotary
        parts = {"language": "llama", "rotary": rotary, "tower": "clip", "connector": "none"}
        folder = MATRIX["make"](place, **parts, adapted=False) / "model"
        config = json.loads((folder / "config.json").read_text())
        del config["text_config"]["rope_scaling"]
        config["text_config"]["rope_parameters"] = {"rope_type": "default", "rope_theta": 500.0}
        (folder / "config.json").write_text(json.dumps(config))
        unscaled = LlavaForConditionalGeneration.from_pretrained(folder)
        with torch.no_grad():
            logits = unscaled(**torch.load(place / "inputs.pt")).logits
        assert (logits - torch.load(place / "logits.pt")).abs().max() > 1000 * MATRIX["CLOSE"], rotary


def differences(cells):
    return {(cell["form"], cell["layout"], release): d for cell in cells for release, d in cell["differences"].items()}


def test_exports_have_equal_logits(tmp_path):
    with MATRIX["Reader"](sys.executable) as reader:
        for parts in FEW:
            found = differences(MATRIX["compare"](tmp_path / "model", parts, [reader]))
            assert len(found) == 6
            assert max(found.values()) <= MATRIX["CLOSE"], parts


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("release", ["4.57.6", "5.24.0"])
def test_exports_have_equal_logits_in_another_release(tmp_path, release):
    with MATRIX["Reader"](MATRIX["environment"](tmp_path / "other", release)) as reader:
        assert reader.release == release
        for parts in ALL:
            found = differences(MATRIX["compare"](tmp_path / "model", parts, [reader]))
            assert len(found) == (3 if release.startswith("4.") else 6)
            assert max(found.values()) <= MATRIX["CLOSE"], parts


def test_the_table_has_every_value_of_every_axis_and_its_greatest_difference():
    cells = [
        {**dict(zip(("language", "rotary", "tower", "connector"), parts, strict=True)), "form": "hf", "layout": layout}
        | {"largest": 0.5, "differences": {"5.23.0": number * 1e-6} | ({"4.57.6": 3e-5} if layout == "v4" else {})}
        for number, (parts, layout) in enumerate(product(ALL, ("v4", "v5")))
    ]
    text = MATRIX["table"]({"versions": {"torch": "2"}, "releases": ["5.23.0", "4.57.6"], "cells": cells})
    assert all(f"| {language} | {rotary} | " in text for language, rotary in PAIRS)
    assert all(f"| {tower} | {connector} | " in text for tower, connector in CONNECTED)
    assert "| hf | v4 | 4.6e-05 | 3.0e-05 |" in text
    assert "| hf | v5 | 4.7e-05 | - |" in text

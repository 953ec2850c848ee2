"""Choosing among options: likelihoods against a plain sum, the rules, and sets that count alike."""

import json
from dataclasses import replace

import pytest
import torch

from medmllm.data.records import Record
from medmllm.data.sources import open_source
from medmllm.errors import DataError
from medmllm.evaluate.choice import choice_figures, classify, listed, named_options, with_options
from medmllm.evaluate.exam import Asked
from medmllm.evaluate.likelihood import likelihoods
from medmllm.evaluate.loading import load_model

OPTIONS = ("left", "right upper", "top")


@pytest.mark.parametrize("model", ["finished", "foreign"])
def test_likelihoods_are_those_of_each_sequence_alone(model, request, tiny):
    folder = request.getfixturevalue(model)
    source = open_source(tiny().data)
    llava, asker = load_model(folder / "model" if model == "finished" else folder, source)
    records = [replace(r, options=OPTIONS[: 2 + i % 2]) for i, r in enumerate(source.records("train")[:3])]
    together = likelihoods(llava, asker, records)
    assert [len(row) for row in together] == [2, 3, 2]
    for record, row in zip(records, together, strict=True):
        for option, found in zip(record.options, row, strict=True):
            total, count = plain(llava, asker, record, option)
            assert found.total == pytest.approx(total, abs=1e-3)
            assert found.per_token == pytest.approx(total / count, abs=1e-3)


@torch.no_grad()
def plain(llava, asker, record, option):
    """Log-probabilities of the answer's tokens, one after another."""
    inputs = asker.questions([record])
    start, tokenizer = inputs["input_ids"], asker.tokenizer
    reply = [*tokenizer(f" {option}", add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    ids = torch.cat([start, torch.tensor([reply])], 1)
    llava.model.language_model.config._attn_implementation = "sdpa"
    logits = llava(input_ids=ids, pixel_values=inputs["pixel_values"], attention_mask=torch.ones_like(ids)).logits
    chances = logits[0, start.shape[1] - 1 : -1].log_softmax(-1)
    return float(sum(chances[i, token] for i, token in enumerate(reply))), len(reply)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("left", [0]), ("It is left.", [0]), ("right upper", [1]), ("upper", []), ("left or top", []), ("B", [1]),
        ("c.", [2]), ("D", []), ("left, top", [0, 2]), ("", []), ("not left", []),
    ],
)  # fmt: skip
def test_options_are_named_by_words_or_letter(said, expected):
    assert named_options(said, OPTIONS) == expected


def test_the_longer_option_is_meant():
    assert named_options("CT angiography", ["CT", "CT angiography"]) == [1]


def question(number, source, answer="left", options=OPTIONS):
    return Record(str(number), f"{number}.png", (("Where?", answer),), "", "", source=source, options=options)


def test_every_set_counts_alike():
    records = [question(i, "a.json") for i in range(3)] + [question(9, "b.json")]
    points = [dict.fromkeys(("likelihood", "likelihood_per_token", "difflib", "named"), float(i < 3)) for i in range(4)]
    told = choice_figures(records, points)
    assert told["difflib"] == 75.0
    assert told["mean_of_sets"]["difflib"] == 50.0
    assert told["chance"] == pytest.approx(100 / 3)
    assert told["by_set"]["b"]["n"] == 1
    assert told["by_set"]["b"]["intervals"]["named"] == [0.0, 100.0]


def test_questions_that_cannot_be_chosen():
    with pytest.raises(DataError, match="no question has options"):
        with_options([question(0, "a", options=())])
    with pytest.raises(DataError, match="no option equal to the true answer, or several: 1"):
        with_options([question(0, "a"), question(1, "a", answer="liver")])
    assert "one of these: left; right upper; top." in listed(question(0, "a")).question


@pytest.fixture
def omni(drawn):
    """Rows as OmniMedVQA has them, two sets in one folder."""
    rows = [
        {"dataset": "D", "question_id": f"q{i}", "question_type": "Where", "question": "Where is the box?",
         "gt_answer": "left", "image_path": f"images/{i}.png", "option_A": "left", "option_B": "right",
         "option_C": "top" if i % 2 else "bottom", "modality_type": "CT"}
        for i in range(8)
    ]  # fmt: skip
    path = drawn.parent / "omni.json"
    path.write_text(json.dumps(rows))
    return path


def test_a_run_chooses_and_goes_on_after_a_stop(finished, omni, tmp_path):
    asked = Asked(source=str(omni), batch_size=3)
    whole = classify(finished, asked, out=tmp_path / "whole")
    assert (whole["n"], set(whole["by_set"]), set(whole["by_modality"])) == (8, {"omni"}, {"CT"})
    assert [p.name for p in sorted((tmp_path / "whole" / "eval").iterdir())] == [
        "data_omni.choice.json", "data_omni.choice.samples.jsonl",
    ]  # fmt: skip

    class Stopped(Exception):
        pass

    from medmllm.run.callbacks import Listener

    class Hears(Listener):
        calls = 0

        def answered(self, count, total):
            self.calls += 1
            if self.calls == 5:  # in the likelihoods
                raise Stopped

    with pytest.raises(Stopped):
        classify(finished, asked, out=tmp_path / "cut", listener=Hears())
    assert len((tmp_path / "cut" / "eval" / "data_omni.likelihood.part.jsonl").read_text().splitlines()) == 6
    assert classify(finished, asked, out=tmp_path / "cut") == whole

import numpy as np
import pytest

from medmllm.data.prepare import facts
from medmllm.data.prepare.captions import caption
from medmllm.data.prepare.pictures import Picture, Question
from medmllm.data.prepare.questions import QUESTIONS, sentence, wording


def film(name: str = "film") -> Picture:
    pixels = np.zeros((112, 112), np.uint8)
    pixels[:56, 56:] = 200
    told = [
        facts.film_fact(),
        facts.label_fact("normal"),
        facts.mirror_fact(False),
        facts.orientation_fact("film", False),
    ]
    return Picture(name, pixels, "a", "s", "train", (*told, *facts.brightness_facts(pixels)), (), ("normal", "film"))


def test_caption_tells_the_answer_and_more():
    text = caption(film(), Question("cause", "normal"))
    assert 40 <= len(text.split()) <= 60
    assert "normal" in text.split(".")[0]
    assert text.count("read as") + text.count("reading of this film") <= 1, "the label is not told twice"


def test_captions_of_pictures_differ_in_wording():
    assert len({caption(film(f"film-{i}"), Question("mirrored", "no")) for i in range(20)}) > 10


def test_brightest_quarter_is_measured():
    quarter, grey = facts.brightness_facts(film().pixels)
    assert all("upper right" in text for text in quarter.wordings)
    assert all("about 20 percent" in text for text in grey.wordings)


def test_structures_are_named_from_large_to_small():
    told = facts.structure_facts({"spleen": 0.05, "liver": 0.21, "aorta": 0.001})
    assert "the liver and the spleen" in told[0].wordings[0]
    assert "about 20 percent" in told[1].wordings[0]
    assert facts.structure_facts({}) == []


@pytest.mark.parametrize(
    ("share", "words"), [(0.01, "less than 5 percent"), (0.33, "about 35 percent"), (1.0, "about 100 percent")]
)
def test_percent(share, words):
    assert facts.percent(share) == words


@pytest.mark.parametrize("kind", QUESTIONS)
def test_every_kind_has_a_sentence_for_its_answers(kind):
    yes_no = kind in ("organ present", "pneumonia", "mirrored")
    for answer in ("yes", "no") if yes_no else ("left",):
        text = sentence(Question(kind, answer, "liver"))
        assert text.endswith(".")
        assert answer in text.lower()
        assert "{" not in text + wording(Question(kind, answer, "liver"), 7)

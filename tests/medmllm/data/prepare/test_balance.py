from collections import Counter

import numpy as np

from medmllm.data.prepare.balance import balanced, choose_questions, round_robin
from medmllm.data.prepare.pictures import Picture, Question


def picture(name: str, questions: list[Question], subject: str = "a", split: str = "train") -> Picture:
    return Picture(name, np.zeros((112, 112), np.uint8), subject, "source", split, (), tuple(questions), ())


def organ(answer: str, about: str) -> Question:
    return Question("organ present", answer, about)


def test_round_robin_takes_turns():
    assert round_robin({"a": [1, 2, 3], "b": [4]}, 3) == [1, 4, 2]


def test_strict_pairs_are_even_for_each_structure():
    choices = [(picture(f"{i}", []), organ("yes", "liver")) for i in range(5)]
    choices += [(picture(f"n{i}", []), organ("no", "liver")) for i in range(2)]
    choices += [(picture(f"k{i}", []), organ("no", "kidney")) for i in range(3)]
    answers = Counter((q.about, q.answer) for _, q in balanced(choices, 100, strict=True))
    assert answers == {("liver", "yes"): 2, ("liver", "no"): 2}
    loose = Counter(q.answer for _, q in balanced(choices, 100, strict=False))
    assert loose == {"yes": 5, "no": 5}


def test_a_kind_with_one_answer_is_left_out():
    assert balanced([(picture("p", []), Question("plane", "axial"))] * 4, 10, strict=False) == []


def test_subjects_take_turns():
    choices = [(picture(f"a{i}", [], "a"), Question("plane", "axial")) for i in range(50)]
    choices += [(picture(f"b{i}", [], "b"), Question("plane", "axial")) for i in range(5)]
    choices += [(picture(f"c{i}", [], "c"), Question("plane", "coronal")) for i in range(9)]
    chosen = balanced(choices, 18, strict=False)
    assert Counter(p.subject for p, _ in chosen) == {"a": 5, "b": 4, "c": 9}


def test_wordings_do_not_favour_an_answer():
    pictures = [picture(f"{i}", [organ("yes" if i % 3 else "no", "liver")]) for i in range(60)]
    texts = Counter((text, question.answer) for _, question, text in choose_questions(pictures))
    assert set(texts.values()) == {10}
    assert len(texts) == 4

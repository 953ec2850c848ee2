"""A conversation answers as generation does, and its later questions know the earlier ones."""

import pytest

from medmllm.data.sources import open_source
from medmllm.errors import ConfigError, DataError
from medmllm.evaluate.conversation import Conversation
from medmllm.evaluate.generate import answers
from medmllm.evaluate.loading import load_model


@pytest.mark.parametrize("model", ["finished", "foreign"])
def test_the_first_answer_is_that_of_an_evaluation(model, request, tiny):
    folder = request.getfixturevalue(model)
    source = open_source(tiny().data)
    records = source.records("train")[:2]
    llava, asker = load_model(folder / "model" if model == "finished" else folder, source)
    expected = list(answers(llava, asker, records, batch_size=2, max_new_tokens=4))
    talk = Conversation.open(folder, max_new_tokens=4)
    for record, text in zip(records, expected, strict=True):
        talk.look_at(source.image(record))
        assert talk.ask(record.question) == text


def test_a_later_question_reads_the_earlier_ones(foreign, drawn):
    talk = Conversation.open(foreign, max_new_tokens=6)
    talk.show(drawn.parent / "images" / "0.png")
    first = talk.ask("Where?")
    second = talk.ask("Where is it?")
    assert talk.turns == [("Where?", first), ("Where is it?", second)]
    talk.turns = []
    assert talk.ask("Where is it?") != second


def test_what_cannot_be_talked_about(finished, tmp_path, drawn):
    talk = Conversation.open(finished)
    with pytest.raises(ConfigError, match="no image"):
        talk.ask("Where?")
    with pytest.raises(DataError, match="does not exist"):
        talk.show(tmp_path / "none.png")
    talk.show(drawn.parent / "images" / "0.png")
    with pytest.raises(ConfigError, match="tokens"):
        talk.ask("Where is it? " * 200)

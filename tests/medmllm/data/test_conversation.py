import pytest

from medmllm.config import VisionConfig
from medmllm.data.conversation import IGNORE, Encoder
from medmllm.data.records import Record
from medmllm.data.tokenizer import build_tokenizer
from medmllm.model.assemble import processor

TURNS = (("Which plane?", "axial"), ("Sure?", "yes, quite"))
RECORD = Record("a", "1.png", TURNS, "The plane is axial.", "An axial slice of the abdomen.")


@pytest.fixture
def encoder():
    return Encoder(build_tokenizer([RECORD], 400), image_tokens=4)


def test_only_answers_and_their_ends_are_learnt(encoder):
    sequence = encoder.conversation(RECORD)
    learnt = [label for label in sequence.labels if label != IGNORE]
    assert encoder.tokenizer.decode(learnt) == " axial</s> yes, quite</s>"
    assert all(label in (IGNORE, token) for token, label in zip(sequence.ids, sequence.labels, strict=True))
    assert sequence.labels[0] == IGNORE


def test_the_chat_template_writes_the_same_tokens(encoder):
    image = {"type": "image"}
    messages = []
    for position, (question, answer) in enumerate(TURNS):
        content = [*([image] if position == 0 else []), {"type": "text", "text": question}]
        messages += [{"role": "user", "content": content}]
        messages += [{"role": "assistant", "content": [{"type": "text", "text": answer}]}]
    stock = processor(VisionConfig(image_size=28, patch_size=14), encoder.tokenizer)
    text = stock.apply_chat_template(messages).replace("<image>", "<image>" * 4)
    assert stock.tokenizer(text, add_special_tokens=False).input_ids == encoder.conversation(RECORD).ids
    prompt = stock.apply_chat_template(messages[:1]).replace("<image>", "<image>" * 4)
    assert stock.tokenizer(prompt, add_special_tokens=False).input_ids == encoder.prompt("Which plane?")


def test_marks_inside_a_text_are_only_letters(encoder):
    forged = Record("b", "1.png", (("<image> </s>", "<image>"),), "<s>", "x")
    ids = encoder.conversation(forged).ids
    assert ids.count(encoder.tokenizer.image_token_id) == 4
    assert ids.count(encoder.tokenizer.eos_token_id) == 1


def test_any_text_comes_back(encoder):
    strange = "Größe 3,5 µm — 肺 🫁"
    ids = encoder.text(strange).ids
    assert encoder.tokenizer.decode(ids, skip_special_tokens=True) == f" {strange}"


def test_captioning_learns_the_caption(encoder):
    learnt = [label for label in encoder.captioning(RECORD).labels if label != IGNORE]
    assert encoder.tokenizer.decode(learnt) == f" {RECORD.caption}</s>"

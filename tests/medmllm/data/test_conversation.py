import pytest
from tokenizers import AddedToken

from medmllm.data.chat import Chat
from medmllm.data.conversation import IGNORE, Encoder
from medmllm.data.records import Record
from medmllm.data.tokenizer import build_tokenizer
from medmllm.errors import ConfigError, DataError
from medmllm.model.architecture import architecture
from medmllm.model.assemble import processor
from medmllm.model.vocabulary import with_marks
from medmllm.settings.schema import ModelConfig, VisionConfig
from tests.medmllm.model.checkpoints import tokenizer

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
    model = ModelConfig(vision=VisionConfig(image_size=28, patch_size=14))
    stock = processor(model, architecture(model, encoder.tokenizer), encoder.tokenizer)
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


@pytest.mark.parametrize("chat", ["vicuna", "mistral", "chatml"])
@pytest.mark.parametrize("kind", ["bytes", "first", "always", "prepend"])
def test_pretrained_tokenizers_read_the_same_as_a_whole_and_in_parts(kind, chat):
    if chat == "chatml" and kind != "bytes":
        pytest.skip("no tokenizer of this kind has ChatML's marks")
    words = with_marks(tokenizer(kind), chat)
    words.add_special_tokens({"extra_special_tokens": ["<image>"]})
    words.image_token, words.image_token_id = "<image>", words.convert_tokens_to_ids("<image>")
    encoder = Encoder(words, 3, chat)  # the comparison with the template is its own, and raises
    sequence = encoder.conversation(RECORD)
    prompt = encoder.prompt("Which plane?")
    assert sequence.ids[: len(prompt)] == prompt
    assert sequence.labels[: len(prompt)] == [IGNORE] * len(prompt)
    learnt = [label for label in sequence.labels if label != IGNORE]
    assert learnt.count(words.eos_token_id) == len(TURNS)
    answer = words.convert_ids_to_tokens(learnt[: learnt.index(words.eos_token_id)])
    assert "".join(answer).strip("▁Ġ") == "axial"


def test_a_tokenizer_that_reads_parts_otherwise_is_refused():
    words = with_marks(tokenizer("bytes"), "vicuna")
    words.add_special_tokens({"extra_special_tokens": ["<image>"]})
    words.image_token, words.image_token_id = "<image>", words.convert_tokens_to_ids("<image>")
    words.add_tokens([AddedToken("axial</s>", normalized=False)])  # a word that swallows the end after it
    with pytest.raises(ConfigError, match="tokenization mismatch"):
        Encoder(words, 3)


def test_an_answer_that_changes_its_question_is_an_error(encoder):
    encoder.chat = Chat("glued", "{bos}{question}", "{question}", "{answer}{eos}")
    glued = Record("c", "1.png", (("The plane is ax", "ial."),), "x", "y")
    with pytest.raises(DataError, match="tokenization mismatch") as caught:
        encoder.conversation(glued)
    assert caught.value.where == "record c"


def test_a_format_without_its_marks_is_refused(encoder):
    with pytest.raises(ConfigError, match="has no token"):
        Encoder(encoder.tokenizer, 3, "chatml")

"""Over random conversations, the saved chat template gives stock transformers the tokens that our encoder gives."""

import random

import jinja2
import pytest

from medmllm.data.chat import CHATS
from medmllm.data.chat_template import chat_of, chat_template, messages
from medmllm.data.conversation import IGNORE, Encoder
from medmllm.data.records import Record
from medmllm.model.vocabulary import with_marks
from tests.medmllm.model.checkpoints import tokenizer

KINDS = ("bytes", "first", "always", "prepend")
WORDS = ("Which", "plane", "axial", "No,", "3.5", "[INST]", "###", "USER:", "ASSISTANT:", "Human:", "肺", "🫁", "µm")
SPACES = (" ", " ", "  ", "\n", " \n", "\t")


def words_of(kind, chat):
    words = with_marks(tokenizer(kind), chat)
    marks = ["<image>", "<im_start>", "<im_end>"]
    words.add_special_tokens({"extra_special_tokens": marks})
    words.image_token, words.image_token_id = "<image>", words.convert_tokens_to_ids("<image>")
    return words


def some_text(rng):
    return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(rng.randint(1, 9))).strip() or "x"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("name", CHATS)
def test_stock_tokens_are_the_encoders(name, marked, kind):
    if name == "chatml" and kind != "bytes":
        pytest.skip("no tokenizer of this kind has ChatML's marks")
    chat, words, rng = CHATS[name].marked() if marked else CHATS[name], words_of(kind, name), random.Random(name + kind)
    encoder, template = Encoder(words, 3, chat), chat_template(chat)
    for _ in range(30):
        system = some_text(rng) if rng.random() < 0.5 else None
        turns = tuple((some_text(rng), some_text(rng)) for _ in range(rng.randint(0, 3)))
        question = some_text(rng)
        talk = list(messages((*turns, (question, "")), system))[:-1]
        text = words.apply_chat_template(talk, chat_template=template, tokenize=False, add_generation_prompt=True)
        stock = words(text.replace("<image>", "<image>" * 3), add_special_tokens=False).input_ids
        assert encoder.prompt(question, turns, system=system) == stock


@pytest.mark.parametrize("name", sorted(CHATS.keys() - {"simple"}))  # whose training rows are those of v0
def test_the_assistants_tokens_are_those_that_are_learnt(name):
    words, rng = words_of("bytes", name), random.Random(name)
    encoder = Encoder(words, 1, name)
    for number in range(30):
        turns = tuple((some_text(rng), some_text(rng)) for _ in range(rng.randint(1, 3)))
        row = encoder.conversation(Record(str(number), "1.png", turns, "x", "x"))
        made = words.apply_chat_template(
            list(messages(turns)),
            chat_template=chat_template(CHATS[name]),
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        length = len(made["input_ids"])  # v0 ends a row with one space more
        assert row.ids[:length] == made["input_ids"]
        assert [label != IGNORE for label in row.labels[:length]] == [bool(m) for m in made["assistant_masks"]]


@pytest.mark.parametrize("name", CHATS)
def test_what_a_server_said_can_be_sent_back(name):
    """Servers leave the space of the first token, the role word that some models write, and the text that ended it."""
    words, chat = words_of("bytes", name), CHATS[name]
    encoder, template = Encoder(words, 3, chat), chat_template(chat)
    raw = f" {chat.role}: The liver, on top.{chat.stops[0]}" if chat.role else " The liver, on top.\n"
    assert chat.answer(raw) == "The liver, on top."
    talk = list(messages(((("Which?"), raw), ("Why?", ""))))[:-1]
    text = words.apply_chat_template(talk, chat_template=template, tokenize=False, add_generation_prompt=True)
    stock = words(text.replace("<image>", "<image>" * 3), add_special_tokens=False).input_ids
    assert encoder.prompt("Why?", (("Which?", "The liver, on top."),)) == stock


@pytest.mark.parametrize("name", CHATS)
def test_roles_are_rendered_or_refused(name):
    words, template = words_of("bytes", name), chat_template(CHATS[name])

    def written(*talk):
        return words.apply_chat_template(
            [{"role": role, "content": text} for role, text in talk], chat_template=template, tokenize=False
        )

    spoken = [written((role, "Be brief."), ("user", "Which?")) for role in ("system", "developer")]
    assert spoken[0] == spoken[1]
    assert spoken[0].count("Be brief.") == 1
    assert spoken[0].index("Be brief.") < spoken[0].index("Which?")
    assert "polite" not in spoken[0]  # the format's own sentence is replaced
    for talk in (
        [("user", "Which?"), ("tool", "42")],
        [("user", "Which?"), ("system", "Be brief.")],
        [("user", "Which?"), ("user", "And?")],
        [("assistant", "No.")],
    ):
        with pytest.raises(jinja2.TemplateError, match="take turns"):
            written(*talk)


def test_parts_and_strings_write_the_same():
    words, template = words_of("bytes", "vicuna"), chat_template(CHATS["vicuna"])
    parts = [{"role": "user", "content": [{"type": "text", "text": "Which?"}]}]
    plain = [{"role": "user", "content": "Which?"}]
    assert words.apply_chat_template(parts, chat_template=template, tokenize=False) == words.apply_chat_template(
        plain, chat_template=template, tokenize=False
    )


# What earlier versions saved: without system messages, and a role that is not the user's is the assistant's.
FORMER = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}USER: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
    " ASSISTANT:{% else %} {% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)
PLAIN = "{% for m in messages %}{{ m['role'].upper() }}: {% for p in m['content'] if p['type'] == 'image' %}<image>\n"
PLAIN += (
    "{% endfor %}{% for p in m['content'] if p['type'] == 'text' %}{{ p['text'] }} {% endfor %}{% endfor %}ASSISTANT:"
)


class Opened:
    """As much of a processor as says how a model is asked."""

    def __init__(self, template):
        self.tokenizer, self.chat_template, self.image_token = words_of("bytes", "chatml"), template, "<image>"


def test_a_format_is_known_by_what_its_template_writes():
    for chat in CHATS.values():
        for form in (chat, chat.marked()):
            assert chat_of(Opened(chat_template(form))) == form
    assert chat_of(Opened(FORMER)) == CHATS["vicuna"]
    assert chat_of(Opened(PLAIN)) is None
    assert chat_of(Opened(PLAIN), first_question=True) == CHATS["vicuna"]
    assert chat_of(Opened("{{ messages[9]['role'] }}")) is None
    assert chat_of(Opened(None)) is None

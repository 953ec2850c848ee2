"""The chat template of a format: Jinja that writes what the encoder writes, and whose template somebody else's is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from medmllm.data.chat import CHATS, Chat, pieces

TEXT = (
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
)
ROLES = "after an optional system message, user and assistant take turns; this format has no other roles"


def chat_template(chat: Chat, image_token: str = "<image>") -> str:
    """The template of a format.

    A first message of the role `system` or `developer` replaces the format's own system text. Other roles, and
    messages out of turn, are refused. The assistant's text is what `Chat.answer` makes of it, since programs send back
    what the model wrote, and inside `{% generation %}`, as trainers expect it that learn answers alone.

    Args:
        chat: the format.
        image_token: the tokenizer's token for images, which the processor repeats.
    """
    image = _shown(chat.around_image.replace("{image}", image_token))
    return "".join(
        [
            f"{{% set system = {json.dumps(chat.system)} %}}{{% set talk = messages %}}",
            "{% if messages and messages[0]['role'] in ('system', 'developer') %}{% set talk = messages[1:] %}",
            "{% set system = messages[0]['content'] if messages[0]['content'] is string ",
            "else messages[0]['content'] | map(attribute='text') | join('') %}{% endif %}",
            "{% for message in talk %}{% if message['role'] != ('user', 'assistant')[loop.index0 % 2] %}",
            f"{{{{ raise_exception({json.dumps(ROLES)}) }}}}{{% endif %}}",
            f"{{% if loop.first %}}{_pattern(chat, chat.first, image)}",
            f"{{% elif message['role'] == 'user' %}}{_pattern(chat, chat.later, image)}",
            f"{{% else %}}{{% generation %}}{_pattern(chat, chat.reply, image)}{{% endgeneration %}}",
            "{% endif %}{% endfor %}",
        ]
    )


def _pattern(chat: Chat, pattern: str, image: str) -> str:
    """Jinja that writes a pattern with the texts of `message`."""
    before, _, after = chat.around_system.partition("{text}")
    written = {
        "{bos}": "{{ bos_token }}",
        "{eos}": "{{ eos_token }}",
        "{system}": f"{{% if system %}}{_shown(before)}{{{{ system }}}}{_shown(after)}{{% endif %}}",
        "{question}": _question(chat, image),
        "{answer}": _answer(chat),
    }
    return "".join(written.get(piece) or _shown(piece) for piece in pieces(pattern))


def _answer(chat: Chat) -> str:
    """Jinja that writes an answer without white space around it; one with its role word, without that and its end."""
    cut = ".".join([f"said.removeprefix({json.dumps(chat.role + ':')})", *(f"removesuffix({s!r})" for s in chat.stops)])
    spoken = f"{{% if said.startswith({json.dumps(chat.role + ':')}) %}}{{% set said = {cut} | trim %}}{{% endif %}}"
    return (
        f"{{% set said %}}{TEXT}{{% endset %}}{{% set said = said | trim %}}{spoken if chat.role else ''}{{{{ said }}}}"
    )


def _question(chat: Chat, image: str) -> str:
    """A question with its images on the side where the format has them; a string is taken as it is.

    Several images of which a text precedes one stand where the parts of the message have them.
    """
    images = "{% for part in message['content'] if part['type'] == 'image' %}"
    text = "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    if chat.image_stays:
        parts = "{% for part in message['content'] %}{% if not loop.first %}{{ '\\n' }}{% endif %}"
        parts += "{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    elif chat.image_last:
        parts = text + images + "{{ '\\n' }}" + image + "{% endfor %}"
    else:
        parts = images + image + "{{ '\\n' }}{% endfor %}" + text
    shown = "message['content'] | selectattr('type', 'equalto', 'image') | list | length"
    leading = f"message['content'][:{shown}] | selectattr('type', 'equalto', 'image') | list | length"
    whole = "{% if message['content'] is string %}{{ message['content'] }}"
    parted = f"{{% elif ({shown}) > 1 and ({leading}) < ({shown}) %}}{_in_place(image)}"
    return f"{whole}{parted}{{% else %}}{parts}{{% endif %}}"


def _in_place(image: str) -> str:
    """Parts in their order: an image before all text or after it has a line of its own, others are in the text."""
    texts_left = "message['content'][loop.index0:] | selectattr('type', 'equalto', 'text') | list"
    return (
        "{% set seen = namespace(text=false) %}{% for part in message['content'] %}{% if part['type'] == 'text' %}"
        "{{ part['text'] }}{% set seen.text = true %}"
        f"{{% elif not seen.text %}}{image}{{{{ '\\n' }}}}{{% elif {texts_left} %}}{image}"
        f"{{% else %}}{{{{ '\\n' }}}}{image}{{% endif %}}{{% endfor %}}"
    )


def _shown(text: str) -> str:
    """Jinja that writes a text, whatever characters it has."""
    return "{{ " + json.dumps(text) + " }}" if text else ""


def chat_of(processor: Any, *, first_question: bool = False) -> Chat | None:
    """The format whose conversations a processor's template writes, or None for one of another's.

    The texts that the templates write are compared, so that older ones and those of others are recognised too.

    Args:
        processor: of a model.
        first_question: compare a first question alone, and not the begin mark, which a tokenizer may write too.
    """
    tokenizer = processor.tokenizer
    image = getattr(processor, "image_token", None) or "<image>"
    if not processor.chat_template:
        return None
    turns = (("Where is it?", "Left."), ("Is it so?", "Yes, it is."), ("Why?", "Of old."))
    talk = list(messages(turns))
    begin = tokenizer.bos_token if first_question and tokenizer.bos_token else ""

    def written(template: str) -> list[str]:
        made = [
            tokenizer.apply_chat_template(part, chat_template=template, tokenize=False, add_generation_prompt=True)
            for part in ([talk[:1]] if first_question else [talk[:1], talk])
        ]
        return [text.removeprefix(begin) for text in made]

    try:
        wanted = written(processor.chat_template)
    except Exception:  # whatever a template of somebody else's makes of such a conversation
        return None
    formats = (form for chat in CHATS.values() for form in (chat, chat.marked()))
    return next((chat for chat in formats if written(chat_template(chat, image)) == wanted), None)


def messages(
    turns: tuple[tuple[str, str], ...], system: str | None = None, *, images: Sequence[tuple[int, int]] = ((0, 0),)
) -> Iterator[dict[str, Any]]:
    """A conversation as `apply_chat_template` takes it.

    Args:
        turns: questions and answers.
        system: a text before them.
        images: turn and letter of each image; one in the first question where nothing is said.
    """
    if system is not None:
        yield {"role": "system", "content": [{"type": "text", "text": system}]}
    for position, (question, answer) in enumerate(turns):
        shown = [letter for turn, letter in images if turn == position]
        yield {"role": "user", "content": question_parts(question, shown)}
        yield {"role": "assistant", "content": [{"type": "text", "text": answer}]}


def question_parts(question: str, letters: Sequence[int]) -> list[dict[str, Any]]:
    """A question as parts of a message, with an image after so many of its letters each; one image stands first."""
    letters, end = ([0] if len(letters) == 1 else letters), 0
    parts: list[dict[str, Any]] = []
    for letter in letters:
        parts += [{"type": "text", "text": question[end:letter]}] if letter > end else []
        parts.append({"type": "image"})
        end = letter
    return [*parts, {"type": "text", "text": question[end:]}] if end < len(question) or not letters else parts

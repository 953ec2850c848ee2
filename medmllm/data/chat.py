"""How a conversation is written: the strings around questions and answers, in the formats that language models know.

A format is two strings. `{bos}`, `{eos}`, `{image}` and words such as `<|im_end|>` stand for single tokens; a question
and an answer are only letters, whatever they hold. The chat template that is saved with the model writes the same.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chat:
    """One format.

    Attributes:
        first: the first question, with its image.
        later: a question after an answer.
        reply: the answer and its end; all of it is learnt.
        end: the token that ends an answer.
        template: the same in Jinja, for `apply_chat_template`.
    """

    first: str
    later: str
    reply: str
    end: str
    template: str


def chat_of(template: str | None) -> str | None:
    """The name of the format whose chat template this is, or None for one of another's."""
    return next((name for name, chat in CHATS.items() if chat.template == template), None)


def _template(user: str, after_user: str, after_assistant: str, *, before: str = "", before_assistant: str = "") -> str:
    return (
        f"{before}{{% for message in messages %}}"
        f"{{% if message['role'] == 'user' %}}{user}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
        "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
        f"{after_user}{{% else %}}{before_assistant}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        f"{{% for part in message['content'] %}}{{{{ part['text'] }}}}{{% endfor %}}{{% endif %}}{after_assistant}"
        "{% endif %}{% endfor %}"
    )


CHATS = {
    "vicuna": Chat(
        first="{bos}USER: {image}\n{question} ASSISTANT:",
        later="USER: {question} ASSISTANT:",
        reply=" {answer}{eos}",
        end="{eos}",
        template=_template("USER: ", " ASSISTANT:", "{{ eos_token }}", before="{{ bos_token }}", before_assistant=" "),
    ),
    "mistral": Chat(
        first="{bos}[INST] {image}\n{question} [/INST]",
        later="[INST] {question} [/INST]",
        reply=" {answer}{eos}",
        end="{eos}",
        template=_template("[INST] ", " [/INST]", "{{ eos_token }}", before="{{ bos_token }}", before_assistant=" "),
    ),
    "chatml": Chat(
        first="<|im_start|>user\n{image}\n{question}<|im_end|>\n<|im_start|>assistant\n",
        later="\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
        reply="{answer}<|im_end|>",
        end="<|im_end|>",
        template=_template(
            "{% if not loop.first %}{{ '\n' }}{% endif %}<|im_start|>user\n",
            "<|im_end|>\n<|im_start|>assistant\n",
            "<|im_end|>",
        ),
    ),
}

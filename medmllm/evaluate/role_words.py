"""Words such as `Assistant:` that some models write before every answer: reported, and removed where that is requested.

Most published answers of LLaVA-Med begin so. The word counts as one that was said, so it costs precision and exact
matches; no question asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from medmllm.evaluate.items import Said

ROLE = re.compile(r"\s*(assistant|response|gpt|ai|bot|model)\s*:", re.IGNORECASE)


def role_word(texts: Sequence[str]) -> str | None:
    """The role word that all answers begin with, without its colon; None where they do not, or there is only one.

    Example:
        >>> role_word(["Assistant: yes", "Assistant: the liver", ""]), role_word(["Assistant: yes", "no"])
        ('Assistant', None)
    """
    found = [ROLE.match(text) for text in texts if text.strip()]
    words = {match[1] if match else "" for match in found}
    return words.pop() or None if len(words) == 1 and len(found) > 1 else None


def without_role(
    said: Sequence[Said], role: str | None, where: Path, on_warning: Callable[[str], None] = lambda line: None
) -> list[Said]:
    """Answers without a role word before them.

    Args:
        said: the answers.
        role: the word, with or without its colon; None removes nothing.
        where: their file, for messages.
        on_warning: called where all answers begin with a word that stays, and where none begins with the one to remove.
    """
    if role is None:
        if word := role_word([one.text for one in said]):
            on_warning(
                f"{where}: every answer begins with {word + ':'!r}; --strip-role {word} removes it before scoring"
            )
        return list(said)
    begin = re.compile(rf"\s*{re.escape(role.strip().rstrip(':'))}\s*:\s*")
    if not any(begin.match(one.text) for one in said):
        on_warning(f"{where}: no answer begins with {role.strip().rstrip(':') + ':'!r}")
    return [replace(one, text=begin.sub("", one.text, count=1) if begin.match(one.text) else one.text) for one in said]

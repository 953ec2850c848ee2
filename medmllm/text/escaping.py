"""Texts from outside in files that other programs interpret: tables of CSV, Markdown and LaTeX."""

from __future__ import annotations

import re
import unicodedata

_LATEX = {
    **{sign: f"\\{sign}" for sign in "%_&#{}$"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
    "·": r"$\cdot$",
}
_MARKDOWN = {**{sign: f"\\{sign}" for sign in "\\`*[]|#~$"}, "&": "&amp;", "<": "&lt;"}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?%?")
_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # control characters and ends of lines
_EMPHASIS = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")  # within a word it has no meaning
_BEGIN = re.compile(r"^(\d*)([-+>.)])(?= )|^(>)")  # of a list or a quotation


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: a text that begins as one gets an apostrophe before it.

    Signs that a spreadsheet passes over are passed over here too. A carriage return, at which it would begin another
    row, becomes a line feed.
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    begin = next((sign for sign in unicodedata.normalize("NFKC", text) if _seen(sign)), "")
    return f"'{text}" if begin and begin in "=+-@" and not _NUMBER.fullmatch(text) else text


def markdown_cell(text: str) -> str:
    """A text that Markdown, also in a table, shows as it is."""
    text = "".join(_MARKDOWN.get(sign, sign) for sign in _NOT_SHOWN.sub(" ", text))
    text = _EMPHASIS.sub(lambda found: r"\_" * len(found[0]), text)
    return _BEGIN.sub(r"\1\\\2\3", text)


def latex_cell(text: str) -> str:
    """A text that LaTeX sets as it is."""
    text = "".join(_LATEX.get(sign, sign) for sign in _NOT_SHOWN.sub(" ", text))
    return f"{{{text[0]}}}{text[1:]}" if text[:1] in ("[", "*") else text  # an option of the line before it


def _seen(sign: str) -> bool:
    return unicodedata.category(sign)[0] not in "CZ"

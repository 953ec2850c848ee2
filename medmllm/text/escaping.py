"""Texts from outside in files that other programs interpret: tables of CSV, Markdown and LaTeX."""

from __future__ import annotations

import re

_LATEX = {
    **{sign: f"\\{sign}" for sign in "%_&#{}$"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
    "·": r"$\cdot$",
    "\n": " ",
}
_MARKDOWN = {**{sign: f"\\{sign}" for sign in "\\`*[]|#"}, "&": "&amp;", "<": "&lt;", "\n": " ", "\r": " "}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?%?")


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: a text that begins as one gets an apostrophe before it."""
    if isinstance(value, str) and value.lstrip().startswith(("=", "+", "-", "@")) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def markdown_cell(text: str) -> str:
    """A text that Markdown, also in a table, shows as it is."""
    return "".join(_MARKDOWN.get(sign, sign) for sign in text)


def latex_cell(text: str) -> str:
    """A text that LaTeX sets as it is."""
    return "".join(_LATEX.get(sign, sign) for sign in text)

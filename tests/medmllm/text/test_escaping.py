"""What comes from outside is shown as it is by spreadsheets, Markdown and LaTeX."""

import csv
import io

import pytest

from medmllm.text.escaping import csv_cell, latex_cell, markdown_cell

FORMULAS = [
    '=HYPERLINK("http://x")',
    "+1+2",
    "-A1",
    "@SUM(A1)",
    "\t=1",
    " =1",
    "\n=1",
    "\x00=1",
    "\ufeff=1",
    "\u200b=1",
]
FORMULAS += [
    "\u00a0=1",
    "\uff1d1+1",
    "\uff0bA1",
    "\uff0dA1",
    "\uff20SUM(A1)",
    "=cmd|'/C calc'!A0",
    "-2+3",
    "+",
    "=",
    "\x85=1",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_begins_as_a_formula(text):
    assert csv_cell(text) == f"'{text}"
    file = io.StringIO()
    csv.writer(file).writerow([csv_cell(text)])
    assert next(csv.reader(io.StringIO(file.getvalue(), newline="")))[0].startswith("'")


@pytest.mark.parametrize("text", ["a\r=1", "a\r\n=1", "\r=1"])
def test_no_cell_begins_another_row(text):
    """A carriage return is not quoted by Python's writer, and ends a row in a spreadsheet."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow([csv_cell(text), "b"])
    assert "\r" not in file.getvalue()
    assert len(list(csv.reader(io.StringIO(file.getvalue(), newline="")))) == 1


@pytest.mark.parametrize("value", ["-0.5", "+1.25", "1e-3", "-3.", "yes", "a=b", "", 3, -2.5, None])
def test_numbers_and_words_stay(value):
    assert csv_cell(value) == value


def test_markdown_shows_a_text_as_it_is():
    assert markdown_cell("a|b\n<b>&amp; `x` [y](z) # *w*") == r"a\|b &lt;b>&amp;amp; \`x\` \[y\](z) \# \*w\*"
    assert markdown_cell("test_slab (95 %)") == "test_slab (95 %)"


def test_latex_sets_a_text_as_it_is():
    assert latex_cell("R&D #1 50% a_b {x} $y$ ~ ^ \\input{z} < >") == (
        r"R\&D \#1 50\% a\_b \{x\} \$y\$ \textasciitilde{} \textasciicircum{} \textbackslash{}input\{z\} $<$ $>$"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("__init__", r"\_\_init\_\_"),
        ("_a_ train.batch_size", r"\_a\_ train.batch_size"),
        ("~~a~~", r"\~\~a\~\~"),
        ("$x^2$", r"\$x^2\$"),
        ("- a", r"\- a"),
        ("+ a", r"\+ a"),
        (">a", r"\>a"),
        ("1. a", r"1\. a"),
        ("12) a", r"12\) a"),
        ("-0.5", "-0.5"),
        ("a\u2028b\x0bc\x85d\r\ne", "a b c d e"),
        ("![x](http://y)", r"!\[x\](http://y)"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_signs_of_markdown(text, shown):
    assert markdown_cell(text) == shown


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("[2pt]", "{[}2pt]"),  # after the end of a line it would be a length
        ("*", "{*}"),
        ("a|b", r"a\textbar{}b"),
        ("``a", r"\textasciigrave{}\textasciigrave{}a"),
        ("a\n\nb", "a b"),
        ("a\x00b\x0cc\u2028d", "a b c d"),
        ("\\\\", r"\textbackslash{}\textbackslash{}"),
        ("%\n", r"\% "),
    ],
)
def test_signs_of_latex(text, source):
    assert latex_cell(text) == source

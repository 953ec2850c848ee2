"""What comes from outside is shown as it is by spreadsheets, Markdown and LaTeX."""

import csv
import io

import pytest

from medmllm.text.escaping import csv_cell, latex_cell, markdown_cell


@pytest.mark.parametrize("text", ['=HYPERLINK("http://x")', "+1+2", "-A1", "@SUM(A1)", "\t=1", " =1", "\r=1"])
def test_no_cell_begins_as_a_formula(text):
    assert csv_cell(text) == f"'{text}"
    file = io.StringIO()
    csv.writer(file).writerow([csv_cell(text)])
    assert next(csv.reader(io.StringIO(file.getvalue(), newline="")))[0].startswith("'")


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

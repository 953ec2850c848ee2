"""A page of HTML in one file: nothing is loaded from anywhere, light and dark, readable on a phone."""

from __future__ import annotations

import html
from collections.abc import Container, Iterable, Sequence

from medmllm.ablate.report.svg import Picture

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #24292f; --faint: #59636e; --grid: #e4e7ea; --soft: #f6f8fa;
  --blue: #0072b2; --orange: #b87a00; --green: #00805f; --red: #c64f00; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --ink: #e6edf3; --faint: #9aa4ae; --grid: #30363d;
  --soft: #161b22; --blue: #58a6e0; --orange: #e69f00; --green: #2fc79a; --red: #ff8c42; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--grid); }
p { max-width: 46rem; margin: .5rem 0; }
.lead { font-size: 1.08rem; }
.note, figcaption, .kind { color: var(--faint); font-size: .88rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .8rem .4rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { font-weight: 600; vertical-align: bottom; }
.word { text-align: left; }
tr.own td { background: var(--soft); }
.figures { display: grid; gap: 1.5rem 2.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 28rem), 1fr)); }
figure { margin: 0; min-width: 0; }
h3 { font-size: 1rem; margin: .5rem 0 .25rem; }
svg { display: block; width: 100%; height: auto; }
figcaption { margin-top: .35rem; }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
.card { display: flex; gap: .8rem; background: var(--soft); border-radius: .5rem; padding: .7rem; font-size: .92rem; }
.card p { margin: 0 0 .25rem; overflow-wrap: anywhere; }
.card img { width: 72px; height: 72px; border-radius: .25rem; flex: none; }
li { overflow-wrap: anywhere; margin: .25rem 0; }
code { overflow-wrap: anywhere; }
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole file."""
    return PAGE.format(title=html.escape(title), style=STYLE, body="\n".join(parts))


def lead(text: str) -> str:
    return f'<p class="lead">{html.escape(text)}</p>'


def paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def figures(pictures: Sequence[Picture]) -> str:
    """Pictures side by side where there is room."""
    return f'<div class="figures">{"".join(map(_figure, pictures))}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int, own: Container[int] = ()) -> str:
    """A table that scrolls by itself; its first `words` columns are text, and the rows `own` are shaded."""
    lines = [f"<tr>{_cells('th', head, words)}</tr>"]
    lines += [f"<tr{_own(i in own)}>{_cells('td', row, words)}</tr>" for i, row in enumerate(rows)]
    return f'<div class="scroll" tabindex="0"><table>{"".join(lines)}</table></div>'


def items(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul>"


def _figure(picture: Picture) -> str:
    return (
        f"<figure><h3>{html.escape(picture.title)}</h3>{picture.svg}"
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def _cells(tag: str, texts: Sequence[str], words: int) -> str:
    kinds = [' class="word"' if i < words else "" for i in range(len(texts))]
    return "".join(f"<{tag}{kind}>{html.escape(text)}</{tag}>" for kind, text in zip(kinds, texts, strict=True))


def _own(is_own: bool) -> str:
    return ' class="own"' if is_own else ""

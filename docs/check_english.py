"""Find wordings that a reader would stumble over: `python docs/check_english.py [FILE OR FOLDER ...]`.

Reads the pages, and the comments, docstrings and messages of Python files; code itself is not text. Each finding is
a line `file:line: words: advice`; the exit status is 1 if there is any. Every rule is here because the
wording was common. A line that needs the words, such as a quotation, carries the comment `english: quoted`.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "graphalign", "medmllm", "cli", "docs", "benchmarks", "tests")
# Other people's texts, and text that is generated from the sources above.
LEFT_OUT = ("docs/vendor", "docs/reference", "benchmarks/results", "docs/check_english.py")

# A pattern, and what a reader understands at once instead.
RULES = {
    r"\bnot to be had\b": "not available",
    r"\btell-apart\b": "distinguishable",
    r"\bfor want of\b": "because there is no ...",
    r"\banew\b": "again; from scratch",
    r"\bfor sure\b": "give the interval or the test",
    r"\bstands? (?:in|on|beside|behind|there|for itself|at|under|alone)\b": "is in; is on; or a verb that says more",
    r"\b(?:is|are|was|were|be) told\b": "is reported; is shown",
    r"\btells? whether\b": "says whether",
    r"(?<!there )(?<!here )\b(?:is|are|was|were) no (?!longer|more|less|better|worse|larger|smaller|faster|slower)": (
        "negate the verb: is not a ..."
    ),
    r"(?:^|[.:;] )What (?:is|was|are|were|it|an?|the|no|we|they) (?!.*\?)": "begin with the noun: 'The result of ...'",
    r"(?:^|[.] )Of [^.?]{3,40}, ": "begin with the subject",
    r"\bwhat no\b": "name the thing",
    r"\bbut for\b": "except",
    r"\bdealt (?:forth|out)\b": "distributed",
    r"\bof one's own\b": "of your own",
    r"\ba fault of\b": "a bug in",
    r"\bgoes on\b": "continues",
    r"\bhangs? together\b": "are not independent; belong together",
    r"\b(?:is|are|was|were) looked at\b": "is examined; is read; is checked",
    r"\b(?:is|are) asked for\b": "is requested; is needed",
    r"\b(?:lies|lie) (?:inside|beside)\b": "is part of; is beside",
    r"\bparted by\b": "separated by",
    r"\btaken up after\b": "resumed after",
    r"\bsome (?:two|three|four|five|six|ten|\d[\d,]*) (?:seconds|minutes|hours|days|GB|MB)\b": "about ...",
    r"\bsome (?:seconds|minutes|hundreds)\b": "a few seconds; about ... minutes",
    r"(?:^|[.:;] )(?:Done|[Nn]eeded) (?:is|are) ": "begin with the subject",
    r"(?:^|[.:;] )[Ii]s (?:yours|it|the|this|that) [^.?]*, then\b": "if ...",
    r"\bless than \d+ (?:known )?(?:pairs|rows|people|questions|images|steps|runs|nodes)\b": "fewer than ...",
    r"\bshall\b": "must; is to; will",
    r"\bstands? again\b": "is repeated; is used again",
    r"\bmay stay away\b": "is not needed for ...",
    r"\bwhich says nothing\b": "say what does not follow",
    r"\bthe least and the most\b": "the lowest and the highest",
    r"\bsee the page\b": "say which page, or what it says",
    r"\b1 (?:people|problems|rows|steps|images|questions)\b": "graphalign.counts.count_of",
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each line of a page, or of a program's comments and strings."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from enumerate(source.splitlines(), 1)
        return
    lines = source.splitlines()
    quoted = {number for number, line in enumerate(lines, 1) if "english: quoted" in line}
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            for number, line in enumerate(token.string.splitlines(), token.start[0]):
                if number not in quoted:
                    yield number, line


def findings(paths: list[Path]) -> Iterator[str]:
    """Yield `file:line: words: advice` for every wording that a rule names."""
    rules = [(re.compile(pattern), advice) for pattern, advice in RULES.items()]
    for path in paths:
        for number, text in texts(path):
            for rule, advice in rules:
                if found := rule.search(text.lstrip(" \"'#|-*>")):
                    yield f"{os.path.relpath(path)}:{number}: {found[0].strip(' .:;')!r}: {advice}"


def sources(places: list[Path]) -> list[Path]:
    """Return the pages and programs below the given files and folders."""
    files = (file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*"))))
    left_out = tuple(str(ROOT / name) for name in LEFT_OUT)
    return [file for file in files if file.suffix in {".py", ".md"} and not str(file).startswith(left_out)]


def main(arguments: list[str]) -> int:
    found = list(findings(sources([Path(name).resolve() for name in arguments] or [ROOT / name for name in PLACES])))
    for line in found:
        print(line)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The measuring process of `exgra bench`: one argument in JSON in, one document out."""

import json
import sys

from graphalign.bench.run import document


def say(text: str) -> None:
    """Report progress on stderr; stdout carries the document alone."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(json.dumps(document(**json.loads(sys.argv[1]), say=say)))

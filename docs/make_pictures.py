"""Draws the pictures of the pages, for light pages and for dark ones, into `docs/images/`.

    python docs/make_pictures.py [NAME ...]

All are drawn where no name is given (a few minutes on one core; `two-encoders` fetches 113 MB). Needs matplotlib. The
pictures of a run (`run.png`, `examples.png`, `matching.png`, `match.png`) come from runs and are not made here.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "pictures"))

import method
import style
import tutorials

PICTURES = {**method.PICTURES, **tutorials.PICTURES}

if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        style.draw(name, *PICTURES[name])

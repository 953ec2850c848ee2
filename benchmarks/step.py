"""The training step's benchmark as one command: `python benchmarks/step.py --size 7b --checkpointing --out step.json`.

The same as `exgra bench train`; see docs/benchmarks.md and docs/scaling.md.
"""

import sys

from exgra.main import main

if __name__ == "__main__":
    main(["bench", "train", *sys.argv[1:]])

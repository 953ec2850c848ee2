"""From the shell to a command, and from any failure to an exit code and one clear message.

Exit codes: 0 done, 1 the run failed, 2 wrong usage or configuration, 3 data invalid, 4 an extra is missing,
5 partly done, 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run the command line.

    Args:
        arguments: what stands after `exgra` on the command line.

    Returns:
        The exit code. Failures are printed to stderr: one message, and a traceback only with `--debug`.
    """
    try:
        from exgra.app import app

        return app(args=list(arguments), prog_name="exgra", standalone_mode=False) or 0
    except BrokenPipeError:  # the reader of a pipe left, as in `exgra solvers | head -1`
        sys.stderr.close()
        return 1
    except Exception as error:
        from exgra.failure import explain

        if "--debug" in arguments:
            traceback.print_exc()
        code, message = explain(error)
        print(message, file=sys.stderr)
        return code

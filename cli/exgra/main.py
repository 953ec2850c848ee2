"""From the shell to a command, and from any failure to an exit code and one clear message.

Exit codes: 0 done, 1 the run failed, 2 wrong usage or configuration, 3 data invalid, 4 an extra is missing,
5 partly done, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    let_threads_sleep()
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def let_threads_sleep() -> None:
    """Keep torch's idle threads from taking processors from other programs, unless the user has set how they wait.

    Torch for processors brings GNU OpenMP, whose threads spin where they wait for each other: on two processors, steps
    of two runs side by side take five times as long as they need (docs/benchmarks.md). OpenMP reads its variables when
    torch is loaded, so this comes first; processes started from here inherit them.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def run(arguments: Sequence[str]) -> int:
    """Run the command line.

    Args:
        arguments: what stands after `exgra` on the command line.

    Returns:
        The exit code. Failures are reported on stderr: one message, and a traceback only with `--debug`. With `--json`
        they are the one document on stdout too.
    """
    try:
        from exgra.app import app

        code = app(args=list(arguments), prog_name="exgra", standalone_mode=False) or 0
        sys.stdout.flush()
        return int(code)
    except BrokenPipeError:  # the reader of a pipe has left, as in `exgra solvers | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        return report_failure(error, debug="--debug" in arguments, as_json="--json" in arguments)


def report_failure(error: BaseException, *, debug: bool, as_json: bool = False) -> int:
    """Tell a failure on stderr, and as a document on stdout if wanted, and return its exit code."""
    from exgra.failure import document, explain
    from exgra.screen import put_json, say

    if debug:
        traceback.print_exception(error)
    code, message = explain(error)
    say(message)
    if as_json:
        put_json(document(error))
    return code

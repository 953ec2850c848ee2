"""Exit codes, messages, and how quickly help comes."""

import errno
import os
import resource
import shlex
import subprocess
import sys

import pytest

from exgra import failure
from exgra.main import report_failure
from graphalign.extras import pip_line
from medmllm.errors import ConfigError, DataError, MissingExtraError, RunError

HEAVY = ("torch", "transformers", "accelerate", "peft", "matplotlib", "numpy", "yaml", "graphalign.problem")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["config", "--help"], ["data", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    heavy = HEAVY if arguments[0] != "--help" else (*HEAVY, "pydantic")  # typer itself uses pydantic below the root
    code = (
        f"import sys; from exgra.main import run; run({arguments}); sys.exit(str([*sys.modules.keys() & {set(heavy)}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert "Usage: exgra" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_help_costs_less_than_half_a_second():
    def seconds():
        """In processor time, so that a busy machine does not fail the test."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "exgra", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.5


WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"), file=sys.stderr)
sys.meta_path.insert(0, Watch())
from exgra.main import main
main(["solvers"])
"""


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_waiting_threads_sleep_before_torch_is_loaded_unless_the_user_says_otherwise(given, spins):
    others = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, env=others | given)
    assert (done.returncode, done.stderr.splitlines()) == (0, [spins])


def test_the_version_is_that_of_the_package(exgra):
    from graphalign import __version__

    result = exgra("--version")
    assert (result.code, result.out) == (0, f"exgra {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "near"),
    [(["trian"], "train"), (["train", "--sovler", "lap"], "--solver"), (["eval"], "eval --help")],
)
def test_wrong_usage_ends_with_2(exgra, arguments, near):
    result = exgra(*arguments)
    assert result.code == 2
    assert near in result.err
    assert result.out == ""


def test_the_nearest_option_is_named_first(exgra):
    told = exgra("match", "a.npy", "b.npy", "--solvr", "lap").err
    assert told.startswith("error: No such option: --solvr; did you mean --solver or --")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunError("m"), 1),
        (ConfigError("m"), 2),
        (DataError("m"), 3),
        (MissingExtraError("m"), 4),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (OSError(errno.EROFS, "Read-only file system", "/r"), 1),
        (PermissionError(errno.EACCES, "Permission denied", "/r"), 1),
        (ModuleNotFoundError("No module named 'peft.tuners'", name="peft.tuners"), 4),
        (ZeroDivisionError("division by zero"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_failure_has_its_exit_code(error, code):
    assert failure.explain(error)[0] == code


def test_an_error_says_what_where_and_what_to_do(capsys):
    report_failure(DataError("no image", where="a.json: row 3", hint="look at exgra data validate a.json"), debug=False)
    assert capsys.readouterr().err.splitlines() == [
        "error: no image",
        "where: a.json: row 3",
        "hint:  look at exgra data validate a.json",
    ]


def test_a_hint_can_be_pasted_in_a_clone(monkeypatch):
    monkeypatch.setenv("EXGRA_COMMAND", "./exgra")
    assert failure.with_command("exgra solvers; exgra estimators") == "./exgra solvers; ./exgra estimators"
    assert failure.with_command(pip_line("train")) == pip_line("train")


def test_a_missing_extra_names_its_pip_line():
    _, message = failure.explain(ModuleNotFoundError("No module named 'transformers'", name="transformers"))
    assert pip_line("train") in message


def test_without_typer_a_sentence_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None; from exgra.main import run; sys.exit(run(['train']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 4
    assert pip_line("train") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_behind_a_library_error_is_told_as_such():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/x/state.pt")
        except OSError:
            raise RuntimeError("writer failed")  # noqa: B904
    except RuntimeError as error:
        code, message = failure.explain(error)
    assert code == 1
    assert message.startswith("error: the disk is full\nwhere: /x/state.pt\nhint:")


@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG])
def test_a_path_that_cannot_be_is_no_fault_of_the_program(number):
    message = failure.explain(OSError(number, "what", "/etc/passwd/x"))[1]
    assert "fault" not in message
    assert "where: /etc/passwd/x\nhint:" in message


def test_a_full_disk_told_by_a_library_in_rust_names_the_folder(tmp_path):
    text = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(RunError) as caught, failure.writing_to(tmp_path):
        raise Exception(text)
    assert failure.explain(caught.value)[1].startswith(f"error: the disk is full\nwhere: {tmp_path}\nhint:")


def test_a_full_disk_without_a_file_name_is_told_with_the_folder(tmp_path):
    with pytest.raises(RunError) as caught, failure.writing_to(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.where == str(tmp_path)


@pytest.mark.parametrize("error", [ConfigError("m"), ZeroDivisionError("m")])
def test_other_failures_keep_what_they_say(error, tmp_path):
    with pytest.raises(type(error)) as caught, failure.writing_to(tmp_path):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["train", "--sovler", "--json"], 2),
        (["train", "seed=x", "--json"], 2),
        (["train", "data.source=nothing.json", "--dry-run", "--json"], 3),
        (["config", "validate", "--json", "align.estimator=unrolled"], 2),
        (["eval", "nowhere", "--json"], 2),
    ],
)
def test_a_failure_is_one_json_document_too(exgra, arguments, code):
    result = exgra(*arguments)
    assert result.code == result.json["exit_code"] == code
    assert {"error", "where", "hint", "exit_code"} <= set(result.json)
    assert result.err.startswith(f"error: {result.json['error']}")


def test_a_traceback_is_shown_only_with_debug(capsys):
    for debug in (False, True):
        with pytest.raises(ZeroDivisionError) as caught:
            _ = 1 / 0
        assert report_failure(caught.value, debug=debug) == 1
        text = capsys.readouterr().err
        assert "error: ZeroDivisionError: division by zero" in text
        assert ("Traceback" in text) == debug


def test_a_closed_pipe_is_no_traceback():
    shell = f"{shlex.quote(sys.executable)} -m exgra config schema | head -1"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True)
    assert done.stdout == "{\n"
    assert done.stderr == ""


LONG = "unrolled needs a solver that autograd can differentiate, and lap is not one: use pygm_sinkhorn or sinkhorn"
PASTED = "exgra train runs/a-very-long-name-of-a-run/config.yaml train.steps=1200 align.barycenter=pairwise --seed 12"


def test_failures_fit_a_terminal_and_are_whole_in_a_pipe(monkeypatch, capsys):
    from exgra.screen import say

    text = f"error: {LONG}\n  align.estimator  {LONG}\nwhere: align.solver\nhint:  {PASTED}"
    say(text)
    assert capsys.readouterr().err == text + "\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    say(text)
    *lines, last = capsys.readouterr().err.splitlines()
    assert last == f"hint:  {PASTED}"
    assert max(map(len, lines)) <= 80
    assert [len(line) - len(line.lstrip()) for line in lines] == [0, 7, 2, 19, 0]
    assert " ".join(" ".join(lines).split()) == " ".join(" ".join(text.splitlines()[:3]).split())


def test_first_mistakes_are_told_what_was_meant(exgra, tmp_path):
    (tmp_path / "my.csv").write_text("image,question,answer\na.png,Is it?,yes\n")
    told = exgra("train", "my.csv")
    assert "train data.source=my.csv" in told.err
    assert "settings have no dashes: train.steps=..." in exgra("train", "--steps", "10").err
    mistyped = exgra("eval", "run", "--task", "relience").err
    assert "did you mean reliance?" in mistyped
    assert "Value error" not in mistyped
    (tmp_path / "folder").mkdir()
    no_run = exgra("report", "folder").err
    assert "the folder holds no run" in no_run
    assert "--resume" not in no_run

"""`exgra train` and `exgra eval` from the words on the command line to the files in the folder."""

import errno
import json
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exgra.commands.train import claim
from medmllm.settings.load import load_config

FILES = ("config.yaml", "overrides.txt", "metrics.jsonl", "summary.json", "model/config.json", "plots/curves.png")


@pytest.fixture
def done(exgra, tiny, tmp_path):
    """A finished run: its result and folder."""
    out = tmp_path / "run"
    return exgra("train", tiny, "--out", out, "--solver", "lap", "seed=3", "--json"), out


def test_a_run_writes_its_folder_and_one_json_document(done):
    result, out = done
    assert result.code == 0
    assert result.json["status"] == "done"
    assert result.json["run"] == str(out)
    assert all((out / name).is_file() for name in FILES)
    assert "step 4/4" in result.err
    assert (out / "overrides.txt").read_text().split() == ["seed=3", "align.solver=lap"]
    assert json.loads((out / "summary.json").read_text())["align"]["solver"] == "lap"


def test_a_run_is_never_overwritten(done, exgra, tiny):
    _, out = done
    before = (out / "summary.json").read_bytes()
    result = exgra("train", tiny, "--out", out)
    assert result.code == 2
    assert "--resume" in result.err
    assert (out / "summary.json").read_bytes() == before


def test_resume_takes_the_runs_own_settings(done, exgra):
    _, out = done
    result = exgra("train", "--resume", "--out", out, "--json")
    assert result.code == 0
    assert result.json["seed"] == 3


def test_resume_refuses_other_settings_and_names_them(done, exgra, tiny):
    _, out = done
    result = exgra("train", tiny, "train.lr=0.1", "--resume", "--out", out)
    assert result.code == 2
    assert all(key in result.err for key in ("train.lr", "seed", "align.solver"))
    assert "train.steps" not in result.err


def test_a_damaged_summary_of_a_finished_run_is_a_sentence(done, exgra):
    _, out = done
    whole = json.loads((out / "summary.json").read_text())
    kept = {"status": "done", "steps": whole["steps"]}
    for damaged in ({"status": "done"}, kept, whole | {"steps": None}, whole | {"test": {}}, whole | {"seconds": "x"}):
        (out / "summary.json").write_text(json.dumps(damaged))
        result = exgra("train", "--resume", "--out", out)
        assert result.code == 1
        assert "the file is damaged" in result.err
        assert "remove it and write it again" in result.err


def test_a_damaged_configuration_of_a_run_names_its_copy(done, exgra):
    _, out = done
    (out / "config.yaml").write_text("train: {steps: [")
    result = exgra("train", "--resume", "--out", out)
    assert result.code == 2
    assert "checkpoints/step-00000004/copy-of-config.yaml" in result.err
    shutil.copy(out / "checkpoints/step-00000004/copy-of-config.yaml", out / "config.yaml")
    assert exgra("train", "--resume", "--out", out).code == 0
    shutil.rmtree(out / "checkpoints")
    (out / "config.yaml").write_text("[")
    assert "put it back" in exgra("train", "--resume", "--out", out).err


def test_resume_without_a_folder_says_which(exgra):
    result = exgra("train", "--resume")
    assert result.code == 2
    assert "--out" in result.err


def test_resume_of_nothing_starts_from_the_beginning(exgra, tiny, tmp_path):
    result = exgra("train", tiny, "--resume", "--out", tmp_path / "new", "--json")
    assert (result.code, result.json["status"]) == (0, "done")


def test_the_story_fits_a_screen_and_says_where_the_files_are(exgra, tiny, tmp_path):
    result = exgra("train", tiny)
    lines = result.out.splitlines()
    (folder,) = Path("runs").iterdir()
    assert folder.name.endswith("_tiny_s0")
    assert 5 <= len(lines) <= 15
    assert max(map(len, lines)) <= 80
    assert f"written   {folder}" in result.out
    assert "matching" in result.out
    assert "right" in result.out


def test_the_next_steps_of_a_run_can_be_pasted(exgra, tiny, tmp_path):
    told = exgra("train", tiny, "--out", "my study/run 2").out
    lines = [line.strip().removeprefix("next ").strip() for line in told.splitlines() if " exgra " in line]
    score, again = (shlex.split(line)[1:] for line in lines)
    assert score[:2] == ["eval", "my study/run 2"]
    assert exgra(*again, "--dry-run").code == 0
    assert again == ["train", "my study/run 2", "align.weight=0"]
    assert "train.caption_weight=1" in told
    assert exgra(*again, "--out", "plain").code == 0
    config = load_config("plain/config.yaml")
    assert (config.align.weight, config.data) == (0, load_config(str(tiny)).data)
    assert " exgra train" not in exgra(*again, "--out", "plainer").out


def test_rows_that_were_left_out_are_told_and_counted(exgra, tiny, tmp_path):
    folder = shutil.copytree(tiny.parent, tmp_path / "data")
    for number in (3, 4):
        (folder / f"{number}.png").write_bytes(b"no picture")
    words = [tiny, f"data.source={folder / 'data.json'}", "data.on_bad_sample=skip", "train.batch_size=2"]
    told = exgra("train", *words, "--out", "run").out
    summary, data = (json.loads(Path("run", name).read_text()) for name in ("summary.json", "data.json"))
    assert {one["id"] for one in data["skipped"]} == {"3", "4"}
    assert summary["left_out"]
    assert set(summary["left_out"].values()) <= {1, 2}
    assert all(f"{count} {split.replace('train', 'training')}" in told for split, count in summary["left_out"].items())
    assert f"questions about {summary['test']['subjects']} images" in " ".join(told.split())


def test_eval_scores_a_run_again(done, exgra):
    result, out = done
    again = exgra("eval", out, "--json")
    assert again.code == 0
    assert again.json["accuracy"] == result.json["test"]["accuracy"]
    assert exgra("eval", out, "--limit", 1).code == 0


def test_eval_of_an_unknown_split_names_the_splits(done, exgra):
    result = exgra("eval", done[1], "--split", "tset")
    assert result.code == 2
    assert "did you mean test?" in result.err


def test_eval_of_no_folder_is_wrong_usage(exgra):
    assert exgra("eval", "nowhere").code == 2


def test_a_dry_run_writes_nothing(exgra, tiny, tmp_path):
    result = exgra("train", tiny, "--dry-run")
    assert result.code == 0
    assert "graphs of 4 nodes" in result.out
    assert exgra("train", tiny, "--dry-run", "--json").json["nodes"] == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "stage"),
    [
        (["align.criterion=cross_entropy"], "          570 steps full (vision + projector + language)"),
        (["stage2-7b", "--gpu", "a100-40gb", "--nproc", "2"], "stages    2,653 steps full (projector + language)"),
    ],
)
def test_a_plan_fits_a_screen(exgra, words, stage):
    plan = exgra("train", *words, "--dry-run")
    assert plan.code == 0, plan.err
    assert stage in plan.out.splitlines()
    assert "disk about 67.1 MB" in plan.out or "disk about 259 GB" in plan.out
    assert [line for line in plan.out.splitlines() if len(line) > 80 and ".json" not in line] == []


@pytest.mark.parametrize(
    ("words", "code", "near"),
    [
        (["--solver", "hungarain"], 2, "Did you mean 'hungarian'?"),
        (["--estimator", "unrolled", "--solver", "hungarian"], 2, "sinkhorn"),
        (["--solver", "brute_force", "train.batch_size=16"], 2, "8 nodes"),
        (["train.stesp=3"], 2, "did you mean train.steps?"),
        (["train.batch_size=64"], 3, "train.batch_size="),
        (["data.source=nothing.json"], 3, "nothing.json"),
        (["device=tpu"], 2, "auto"),
    ],
)
def test_what_cannot_work_is_refused_with_a_remedy(exgra, tiny, tmp_path, words, code, near):
    result = exgra("train", tiny, *words, "--out", "run")
    assert result.code == code
    assert near in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


@pytest.mark.parametrize(
    ("out", "code", "near"),
    [
        ("", 2, "must not be empty"),
        ("x" * 300, 1, "name is too long"),
        ("file/x", 1, "is a file"),
        (".", 2, "{here}-2"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_folder_that_cannot_be_made_is_refused(exgra, tiny, tmp_path, out, code, near, more):
    (tmp_path / "file").touch()
    result = exgra("train", tiny, "--out", out, *more)
    assert result.code == code
    assert near.format(here=tmp_path) in result.err


def test_a_dry_run_finds_that_the_disk_cannot_be_written(exgra, tiny, monkeypatch):
    def fails(*_):
        raise OSError(errno.EROFS, "Read-only file system", "runs")

    monkeypatch.setattr("medmllm.planning.plan.check_disk", fails)
    result = exgra("train", tiny, "--dry-run")
    assert (result.code, result.out) == (1, "")


def test_runs_that_start_together_take_folders_of_their_own(exgra, tiny, tmp_path, monkeypatch):
    config = load_config(str(tiny))
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: claim(config), range(40)))
    assert len(set(folders)) == 40
    assert all(folder.is_dir() for folder in folders)


def test_a_refused_run_leaves_no_folder(exgra, tiny):
    assert exgra("train", tiny, "data.source=nothing.json").code == 3
    assert exgra("train", tiny, "--estimator", "unrolled").code == 2
    assert not list(Path().glob("runs/*"))


def test_overrides_need_no_configuration(exgra):
    result = exgra("train", "train.steps=7", "--dry-run", "trian=1")
    assert result.code == 2
    assert "trian" in result.err
    assert "train.steps" not in result.err


def test_ctrl_c_prints_the_line_that_goes_on(exgra, tiny, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("medmllm.training.trainer.train", interrupted)
    result = exgra("train", tiny, "--out", tmp_path / "run")
    assert result.code == 130
    assert f"exgra train --resume --out {tmp_path / 'run'}" in result.err
    assert exgra("train", tiny, "--out", tmp_path / "run", "--json").json["exit_code"] == 130


def test_a_fault_of_the_program_names_its_log(exgra, tiny, tmp_path, monkeypatch):
    def fails(config, out, **_):
        out.mkdir()
        (out / "error.log").write_text("Traceback")
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("medmllm.training.trainer.train", fails)
    result = exgra("train", tiny, "--out", tmp_path / "run")
    assert result.code == 1
    assert "error.log" in result.err
    assert "Traceback" not in result.err


def test_a_full_disk_is_one_clear_message(exgra, tiny, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "state.pt")

    monkeypatch.setattr("medmllm.training.trainer.train", fails)
    result = exgra("train", tiny, "--out", tmp_path / "run")
    assert result.code == 1
    assert result.err.splitlines()[-3:] == [
        "error: the disk is full",
        "where: state.pt",
        "hint:  free some space and continue with --resume, or choose another folder with --out",
    ]

import pytest

from medmllm.errors import ConfigError
from medmllm.run.folder import METRICS, RunFolder


@pytest.fixture
def run(tmp_path):
    return RunFolder.open(tmp_path / "run", resume=False)


def test_an_existing_run_is_never_overwritten(run):
    run.write_text("config.yaml", "name: x\n")
    with pytest.raises(ConfigError, match="never overwritten") as caught:
        RunFolder.open(run.path, resume=False)
    assert "--resume" in caught.value.hint
    assert RunFolder.open(run.path, resume=True).path == run.path


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "run").mkdir()
    RunFolder.open(tmp_path / "run", resume=False)


def test_a_torn_line_is_left_out_and_all_can_be_dropped(run):
    for step in (0, 1, 2, 3):
        run.append(METRICS, {"step": step})
    with (run.path / METRICS).open("a") as file:
        file.write('{"step": 4, "lo')
    assert [line["step"] for line in run.lines()] == [0, 1, 2, 3]
    run.drop_lines()
    assert run.lines() == []


@pytest.mark.parametrize(("error", "status"), [(ValueError("broken"), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_an_early_end_is_recorded(run, error, status):
    with pytest.raises(type(error)), run.recording():
        raise error
    assert run.status() == status
    assert type(error).__name__ in (run.path / "error.log").read_text()


def test_a_write_that_fails_keeps_the_old_file(run, monkeypatch):
    run.write_text("summary.json", "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError):
        run.write_text("summary.json", "new")
    assert (run.path / "summary.json").read_text() == "old"
    assert not list(run.path.glob(".*.part"))


def test_a_folder_that_is_no_run_is_not_continued(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not the folder of a run"):
        RunFolder.open(tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_error_of_an_earlier_try_goes_when_it_is_mended(run):
    with pytest.raises(ValueError, match="x"), run.recording():
        raise ValueError("x")
    with run.recording():
        pass
    assert not (run.path / "error.log").exists()

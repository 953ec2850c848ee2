"""`exgra predict` and `exgra chat` from the words on the command line, and the page of `--web`."""

import io
import json
import shlex
import sys

import pytest
from PIL import Image

from exgra.screen import without_controls
from graphalign.extras import pip_line


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    from medmllm.settings.load import load_config
    from medmllm.training.trainer import train

    run = tmp_path_factory.mktemp("runs") / "run"
    train(load_config(str(tiny)), run)
    return run


def test_predict_writes_a_line_for_each_question(exgra, trained, tiny, tmp_path):
    result = exgra("predict", trained, tiny.parent / "data.json", "--out", "a.jsonl", "--json")
    assert (result.code, result.json["answers"]) == (0, 20)
    assert "not a medical device" in result.json["notice"]
    scored = exgra("eval", "--references", tiny.parent / "data.json", "--predictions", "a.jsonl", "--json")
    assert (scored.code, scored.json["strict"]["n_closed"]) == (0, 20)


def test_the_next_step_of_predict_can_be_pasted(exgra, trained, tiny, tmp_path):
    rows = "".join(f"{tiny.parent}/{number}.png,Is it dark?,no\n" for number in range(3))
    (tmp_path / "my test.csv").write_text(f"image,question,answer\n{rows}")
    told = exgra("predict", trained, "my test.csv", "--allow-outside", "--out", "my answers.jsonl")
    line = next(line for line in told.err.splitlines() if line.startswith("next: exgra ")).partition(", where")[0]
    assert exgra(*shlex.split(line.removeprefix("next: exgra "))).code == 0


def test_the_next_step_names_no_questions_without_answers(exgra, trained, tiny, tmp_path):
    rows = [{"image": f"{tiny.parent}/{number}.png", "question": "Is it dark?"} for number in range(2)]
    (tmp_path / "asked.json").write_text(json.dumps(rows))
    told = exgra("predict", trained, "asked.json", "--allow-outside", "--out", "a.jsonl")
    assert told.code == 0
    assert "--references FILE" in told.err


def test_predict_of_one_image_prints_its_answer(exgra, trained, tiny, tmp_path):
    told = exgra("predict", trained, tiny.parent / "1.png", "--question", "Dark?", "--out", "a.jsonl")
    text = json.loads((tmp_path / "a.jsonl").read_text())["text"]
    assert told.out.strip() == without_controls(text).strip()
    assert exgra("predict", trained, tiny.parent / "1.png", "--question", "Dark?", "--out", "a.jsonl", "--json").json[
        "text"
    ] == text  # fmt: skip


def test_a_run_that_does_not_exist_is_answered_with_the_nearest(exgra, trained, tmp_path, monkeypatch):
    def asked(*args, **more):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", asked)
    near = trained.with_name(trained.name + "x")
    told = exgra("eval", near)
    assert told.code == 2
    assert f"there is no run or model {near}" in told.err
    assert f"did you mean {trained}?" in told.err
    for name in ("runs/none", "none", "./some/where", f"{tmp_path.name}/x/y"):
        assert "there is no run or model" in exgra("predict", name, "x.json").err
        assert "there is no run or model" in exgra("eval", name).err


def test_predict_says_that_it_is_for_research_only(exgra, trained, tiny):
    assert "not a medical device" in exgra("predict", trained, tiny.parent / "1.png", "--question", "Dark?").err


def test_predict_of_a_folder_with_something_else_is_partly_done(exgra, trained, tiny, tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "film").write_bytes((tiny.parent / "1.png").read_bytes())
    (folder / "notes").write_text("x")
    result = exgra("predict", trained, folder, "--question", "Dark?")
    assert result.code == 5
    assert "left out: notes" in result.err
    assert "1 answer in answers.jsonl; 1 file left out" in result.err


def test_predict_without_a_question_is_wrong_usage(exgra, trained, tiny):
    assert exgra("predict", trained, tiny.parent / "1.png").code == 2


def test_chat_answers_each_line(exgra, trained, tiny, monkeypatch):
    spoken = "Is it dark?\n\n/image nowhere.png\n/new\nIs it?\n/help\n/quit\nnever asked\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(spoken))
    result = exgra("chat", trained, "--image", tiny.parent / "1.png")
    assert result.code == 0
    assert len(result.out.splitlines()) == 2
    assert "not a medical device" in result.err
    assert "does not exist" in result.err


def test_chat_without_an_image_is_wrong_usage(exgra, trained):
    assert exgra("chat", trained).code == 2


def test_chat_names_a_folder_that_does_not_exist_before_an_image(exgra):
    result = exgra("chat", "nothing-here")
    assert result.code == 2
    assert "nothing-here" in result.err
    assert "--image" not in result.err


def test_a_saved_model_without_data_is_said_to_answer_the_embedded_questions(exgra, trained, tmp_path):
    result = exgra("eval", trained / "model", "--limit", "2", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert "no --data given: the questions are those of the embedded data set, not yours" in result.err
    assert "answers 2 questions of the embedded data set" in result.err
    assert "asked     the embedded data set" in result.out
    assert json.loads((tmp_path / "out" / "eval" / "test_limit2.json").read_text())["data"] == "the embedded data set"
    own = exgra("eval", trained, "--limit", "2", "--json")
    assert own.json["data"] == "the run's own data"
    assert "--data" not in own.err


def test_the_page_without_its_extra(exgra, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = exgra("chat", trained, "--web")
    assert result.code == 4
    assert pip_line("web") in result.err


def test_the_page_asks_about_several_images(trained, tiny):
    from exgra import web
    from medmllm.errors import ConfigError
    from medmllm.evaluate.conversation import Conversation

    talk, images = Conversation.open(trained), [tiny.parent / f"{number}.png" for number in range(3)]
    visit, other = web.Visit.begin(talk, []), web.Visit.begin(talk, images[:1])
    *_, (_, said, line) = web.answer(visit, "Is it dark?")
    assert "no image" in said[-1]["content"]
    assert line == "Is it dark?"
    visit.add(images[:2])
    (_, waiting, _), (_, said, line) = web.answer(visit, " Is it dark? ")
    assert [message["content"] for message in waiting] == ["Is it dark?", "…"]
    assert [message["role"] for message in said] == ["user", "assistant"]
    assert line == ""
    visit.add(images[2:])
    _, pictures, window, _ = web.page_state(visit)
    assert [told for _, told in pictures] == ["1 · 0.png", "2 · 1.png", "3 · 2.png · from question 2"]
    assert window == ""
    assert (len(other.talk.images), other.talk.turns, talk.images) == (1, [], [])
    visit.begin_again(visit.files)
    assert ([turn for turn, _ in visit.talk.images], visit.talk.turns) == ([0, 0, 0], [])
    with pytest.raises(ConfigError):
        visit.talk.ask("dark " * 900)


def test_the_page_shows_scans_in_a_window_that_can_be_changed(trained, tiny, tmp_path):
    pytest.importorskip("pydicom")
    import numpy as np
    from dicom_files import dicom

    from exgra import web
    from medmllm.errors import UserError
    from medmllm.evaluate.conversation import Conversation

    levels = np.array([[-1000, 40], [240, 3000]], np.int16)
    scan = dicom(tmp_path / "scan.dcm", levels)
    visit = web.Visit.begin(Conversation.open(trained), [tiny.parent / "0.png", scan])
    assert visit.window_said.startswith("Scans are shown in the window **auto**")
    assert visit.window_said.endswith("as in training.")
    visit.look_through("40/400")
    assert visit.window_said == "Scans are shown in the window **40/400**."
    assert np.asarray(visit.talk.images[1][1])[..., 0].tolist() == [[0, 128], [255, 255]]
    for attempt in (lambda: visit.look_through("brian"), lambda: visit.add([scan, tmp_path / "missing.png"])):
        with pytest.raises(UserError):
            attempt()
        assert (visit.talk.window, len(visit.files), len(visit.talk.images)) == ("40/400", 2, 2)


def test_the_probe_from_the_command_line(exgra, trained):
    result = exgra("eval", trained, "--task", "reliance", "--json")
    assert set(result.json["changed"]) == {"blank", "noise", "shuffled"}
    table = exgra("eval", trained, "--task", "reliance")
    assert "shuffled" in table.out
    assert max(map(len, table.out.splitlines())) <= 80
    assert json.loads((trained / "eval" / "test.reliance.json").read_text()) == result.json


@pytest.mark.parametrize("words", [["eval"], ["predict", "data.json"]])
def test_ctrl_c_says_that_the_same_command_goes_on(exgra, trained, tiny, monkeypatch, words):
    from exgra.progress import Lines

    def interrupt(self, count, total):
        raise KeyboardInterrupt

    more = [tiny.parent / word for word in words[1:]]
    with monkeypatch.context() as patched:
        patched.setattr(Lines, "answered", interrupt)
        result = exgra(words[0], trained, *more)
    assert result.code == 130
    assert "the same command continues" in result.err
    assert exgra(words[0], trained, *more).code == 0


def test_a_slice_of_a_volume_is_named_behind_its_path(trained, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    import numpy as np

    from exgra.web import Visit, at_slice
    from medmllm.data.images import decode
    from medmllm.errors import UserError
    from medmllm.evaluate.conversation import Conversation

    values = np.arange(8 * 8 * 5, dtype=np.int16).reshape(8, 8, 5)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), volume := tmp_path / "ct.nii.gz")
    talk = Conversation.open(trained, max_new_tokens=2, device="cpu")
    named = tmp_path / "ct.nii.gz#axial=4"
    assert "window" in talk.show(named)
    assert np.array_equal(talk.image, decode(volume, where="here", name=str(named)))
    visit = Visit.begin(talk, [volume])
    visit.look_at_slice("axial=4")
    assert visit.files == [named]
    assert np.array_equal(visit.talk.image, talk.image)
    visit.talk.ask("Which?")
    for wrong, told in (("axial=5", "5"), ("up", "no slice 'up'"), ("page=1", "no slice")):
        with pytest.raises(UserError, match=told):
            visit.look_at_slice(wrong)
        assert (visit.files, len(visit.talk.turns), len(visit.talk.images)) == ([named], 1, 1)
    visit.look_at_slice("")
    assert (visit.files, visit.talk.turns) == ([volume], [])
    film = tmp_path / "film.png"
    Image.new("L", (8, 8)).save(film)
    assert at_slice(film, "axial=4") == film

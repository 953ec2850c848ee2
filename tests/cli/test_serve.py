"""`exgra serve` and the program of its page: the answers are those of `exgra chat`."""

import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from transformers import LlavaForConditionalGeneration

from exgra.commands.serve import NAME, named
from medmllm.evaluate.conversation import Conversation
from medmllm.settings.load import load_config
from medmllm.training.trainer import train
from tests.medmllm.model.checkpoints import language, tower

PAGE = Path(__file__).resolve().parents[2] / "docs" / "serving.md"


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    train(load_config(str(tiny)), run)
    return run


@contextmanager
def serving(run, log):
    """The port of a server in a process of its own, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "exgra", "serve", str(run), "--port", str(port), "--device", "cpu"]
    with log.open("w") as lines, subprocess.Popen(command, stdout=lines, stderr=lines) as server:
        try:
            while server.poll() is None and not answers(port):
                time.sleep(0.2)
            assert server.poll() is None, log.read_text()
            yield port
        finally:
            server.terminate()


def answers(port):
    try:
        return urlopen(f"http://127.0.0.1:{port}/health").status == 200
    except (URLError, ConnectionError):
        return False


def test_the_program_of_the_page_gets_the_answers_of_chat(trained, tiny, tmp_path, monkeypatch):
    for name in ("fastapi", "openai", "uvicorn"):
        pytest.importorskip(name)
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    shutil.copy(tiny.parent / "3.png", tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    with serving(trained, tmp_path / "log") as port:
        exec(compile(program.replace("8000", str(port)), str(PAGE), "exec"), page := {})
    talk = Conversation.open(trained, max_new_tokens=64, device="cpu")
    talk.show(tmp_path / "image.png")
    assert page["said"] == talk.ask("Where is the box?")
    assert page["streamed"] == talk.ask("Is it bright?")
    log = (tmp_path / "log").read_text()
    assert "no answer may be used for a clinical decision" in log
    assert f"http://127.0.0.1:{port}/v1" in log


def test_adapters_are_served_over_their_base(tiny, tmp_path, monkeypatch):
    """Also where the run names its parts from the folder that it was started in."""
    monkeypatch.chdir(tmp_path)
    tower(Path("clip"))
    language(Path("llama"), tokens="bytes")
    words = ["model.vision.pretrained=clip", "model.language.pretrained=llama", "model.lora.rank=2"]
    words += ["model.language.max_length=256", "model.vision.feature_layer=-2"]
    train(load_config(str(tiny), [*words, f"data.source={tiny.parent / 'data.json'}"]), Path("run"))
    with named("run") as name:
        assert name == NAME
        LlavaForConditionalGeneration.from_pretrained(name)
    assert Path.cwd() == tmp_path


def test_a_model_of_the_hub_keeps_its_name(monkeypatch):
    monkeypatch.setattr("medmllm.evaluate.loading.check_model", lambda name: None)
    with named("somebody/llava") as name:
        assert name == "somebody/llava"


def test_serving_without_its_extra_is_refused(exgra, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    told = exgra("serve", "runs/none")
    assert told.code == 4
    assert "openai" in told.err
    assert "[serve]" in told.err

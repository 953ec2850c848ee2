"""`exgra serve`: the answers are those of `exgra chat`, and what is not done is refused."""

import base64
import io
import itertools
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
from dicom_files import dicom
from PIL import Image

from exgra.commands.serve import NAME
from exgra.openai_port import application, streamed
from medmllm.errors import UserError
from medmllm.evaluate.completions import Answerer, read_request
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
            yield port, server
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
    with serving(trained, tmp_path / "log") as (port, server):
        exec(compile(program.replace("8000", str(port)), str(PAGE), "exec"), page := {})
        server.send_signal(signal.SIGINT)  # Ctrl-C
        server.wait(timeout=60)
    talk = Conversation.open(trained, max_new_tokens=64, device="cpu")
    talk.show(tmp_path / "image.png")
    assert page["said"] == talk.ask("Where is the box?")
    assert page["streamed"] == talk.ask("Is it bright?")
    log = (tmp_path / "log").read_text()
    assert "no answer may be used for a clinical decision" in log
    assert f"http://127.0.0.1:{port}/v1" in log
    assert "Traceback" not in log


@pytest.fixture(scope="module")
def answerer(trained):
    return Answerer(Conversation.open(trained, max_new_tokens=8, device="cpu"))


@pytest.fixture(scope="module")
def post(answerer):
    """Send a body, without a server; the status and the content."""
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    client = TestClient(application(answerer, NAME), base_url="http://127.0.0.1", raise_server_exceptions=False)

    def send(**body):
        response = client.post("/v1/chat/completions", json=body)
        return response.status_code, response.json() if "json" in response.headers["content-type"] else response.text

    send.client = client
    return send


def shown(image, ending="PNG"):
    kept = io.BytesIO()
    image.save(kept, ending)
    return part(kept.getvalue())


def part(content, chosen=""):
    url = f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}{chosen}"
    return {"type": "image_url", "image_url": {"url": url}}


def text(words):
    return {"type": "text", "text": words}


GREY = shown(Image.new("L", (28, 28), 90))
ASKED = [{"role": "user", "content": [GREY, text("Is it dark?")]}]


def test_adapters_are_served_over_their_base(tiny, tmp_path, monkeypatch):
    """Also where the run names its parts from the folder that it was started in."""
    monkeypatch.chdir(tmp_path)
    tower(Path("clip"))
    language(Path("llama"), tokens="bytes")
    words = ["model.vision.pretrained=clip", "model.language.pretrained=llama", "model.lora.rank=2"]
    words += ["model.language.max_length=256", "model.vision.feature_layer=-2"]
    train(load_config(str(tiny), [*words, f"data.source={tiny.parent / 'data.json'}"]), Path("run"))
    talk = Conversation.open("run", max_new_tokens=4, device="cpu")
    server = Answerer(talk)
    request = read_request({"messages": ASKED})
    talk.look_at(request.images[0][1])
    assert server.answer(request, server.prepare(request)).text == talk.ask("Is it dark?")


@pytest.mark.parametrize("images_first", [True, False])
def test_the_tokens_are_those_of_the_saved_chat_template(answerer, images_first):
    def written(role, *parts):
        return {"role": role, "content": [{"type": "image"} if one is GREY else one for one in parts]}

    second = [GREY, GREY, text("And these?")] if images_first else [text("Is "), GREY, text(" as "), GREY]
    talk = [("system", text("Be brief.")), ("user", GREY, text("Is it dark?")), ("assistant", text(" no\n"))]
    talk += [("user", *second)]
    request = read_request({"messages": [{"role": role, "content": list(parts)} for role, *parts in talk]})
    processor = answerer.talk.asker.processor
    told = processor.apply_chat_template([written(*one) for one in talk], add_generation_prompt=True)
    images = [image for _, image in request.images]
    stock = processor(images=images, text=told, add_special_tokens=False, return_tensors="pt")
    made = answerer.prepare(request)
    assert made["input_ids"].tolist() == stock["input_ids"].tolist()
    assert made["pixel_values"].equal(stock["pixel_values"])


@pytest.mark.parametrize("depth", [8, 16])
def test_images_are_shown_as_chat_shows_them(answerer, tmp_path, depth):
    """A picture of sixteen bits is rescaled, not clipped, and a scan has the window of training."""
    values = np.arange(784).reshape(28, 28)
    if depth == 8:
        path = dicom(tmp_path / "chest.dcm", values.astype(np.int16) - 1000)
    else:
        Image.fromarray((values * 80).astype(np.uint16)).save(path := tmp_path / "film.png")
    answerer.talk.show(path)
    content = [part(path.read_bytes()), text("Is it dark?")]
    request = read_request({"messages": [{"role": "user", "content": content}]}, answerer.window)
    assert np.array_equal(request.images[0][1], answerer.talk.image)


def test_a_slice_of_a_volume_is_named_behind_its_data(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    values = np.arange(8 * 8 * 5, dtype=np.int16).reshape(8, 8, 5)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "ct.nii.gz")
    data = (tmp_path / "ct.nii.gz").read_bytes()

    def seen(chosen):
        message = {"role": "user", "content": [part(data, chosen), text("Which?")]}
        return np.asarray(read_request({"messages": [message]}, "0/640").images[0][1])

    assert np.array_equal(seen(""), seen("#axial=2"))
    assert not np.array_equal(seen("#axial=2"), seen("#axial=4"))


def test_an_answer_ends_where_the_request_says(post, answerer):
    status, whole = post(messages=ASKED, max_tokens=8)
    assert status == 200
    said = whole["choices"][0]["message"]["content"]
    read, written = (whole["usage"][f"{name}_tokens"] for name in ("prompt", "completion"))
    assert (whole["model"], whole["usage"]["total_tokens"]) == (NAME, read + written)
    first = post(messages=ASKED, max_tokens=1)[1]
    assert (first["choices"][0]["finish_reason"], first["usage"]["completion_tokens"]) == ("length", 1)
    assert len(said) > 2
    for stop in (said[2], [said[2], "never said"]):
        choice = post(messages=ASKED, max_tokens=8, stop=stop)[1]["choices"][0]
        assert choice["message"]["content"] == said[: said.index(said[2])].strip()
        assert choice["finish_reason"] == "stop"


def test_draws_follow_their_seed(post):
    def drawn(**body):
        return post(messages=ASKED, max_tokens=8, **body)[1]["choices"][0]["message"]["content"]

    assert drawn(temperature=1.5, seed=1) == drawn(temperature=1.5, seed=1)
    assert len({drawn(temperature=2, seed=seed) for seed in range(5)}) > 1
    assert drawn(temperature=0) == drawn() == drawn(temperature=1, top_p=1e-9)


def test_a_stream_brings_the_same_answer_in_parts(post):
    whole = post(messages=ASKED, max_tokens=8)[1]
    body = {"messages": ASKED, "max_tokens": 8, "stream": True, "stream_options": {"include_usage": True}}
    *events, done = re.findall(r"^data: (.*)$", post(**body)[1], re.MULTILINE)
    events = [json.loads(event) for event in events]
    assert done == "[DONE]"
    assert (
        "".join(e["choices"][0]["delta"].get("content", "") for e in events[:-1])
        == (whole["choices"][0]["message"]["content"])
    )
    assert events[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert events[-1]["usage"] == whole["usage"]
    assert len({event["id"] for event in events}) == 1


def test_the_role_word_is_in_no_part_of_a_stream(answerer, monkeypatch):
    """Models in the format `simple` write it first, and a text that ends the answer comes letter by letter."""
    from medmllm.data.chat import CHATS

    parts = ["", " Assis", "tant", ": The", " liver", ".", "#", "##", "Human"]
    words = type("Words", (), {"decode": lambda self, ids, **_: "".join(parts[: len(ids)])})()
    asker = type("Simple", (), {"chat": CHATS["simple"], "tokenizer": words})()
    monkeypatch.setattr(answerer, "talk", type("Talk", (), {"asker": asker})())
    told = [answerer._text(range(n), (), certain=True) for n in range(len(parts) + 1)]
    assert told[-1] == answerer._text(range(len(parts)), ()) == "The liver."
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(told))


def test_a_reader_who_leaves_ends_the_work(answerer):
    request = read_request({"messages": ASKED, "max_tokens": 400})
    reader = streamed(answerer, request, answerer.prepare(request), NAME, usage=False)
    next(reader)
    reader.close()
    short = read_request({"messages": ASKED, "max_tokens": 1})
    assert answerer.answer(short, answerer.prepare(short)).written == 1


FAULTS = {
    "another model": ({"model": "gpt-4"}, 404, "gpt-4"),
    "n": ({"n": 2}, 400, "n = 2 is not supported"),
    "logprobs": ({"logprobs": True}, 400, "logprobs"),
    "unknown": ({"top_k": 3}, 400, "top_k"),
    "JSON": ({"response_format": {"type": "json_object"}}, 400, "response_format"),
    "tools": ({"tools": [{"type": "function"}]}, 400, "tools"),
    "no tokens": ({"max_tokens": 0}, 400, "max_tokens must be a whole number from 1, not 0"),
    "part of a token": ({"max_completion_tokens": 1.5}, 400, "max_tokens"),
    "warm": ({"temperature": "hot"}, 400, "temperature must be a number from 0 to 2"),
    "top_p": ({"top_p": 0.5}, 400, "add temperature=1"),
    "stop": ({"stop": [1]}, 400, "stop must be a text"),
    "too long": ({"max_tokens": 4000}, 400, "the model reads"),
    "no messages": ({"messages": []}, 400, "messages must be a list"),
    "text": ({"messages": "Is it dark?"}, 400, "messages must be a list"),
    "system alone": ({"messages": [{"role": "system", "content": "Be brief."}]}, 400, "the roles are none"),
    "tool": ({"messages": [*ASKED, {"role": "tool", "content": "x"}]}, 400, "the roles are user, tool"),
    "twice": ({"messages": ASKED * 2}, 400, "user and assistant take turns"),
    "answer": ({"messages": [*ASKED, {"role": "assistant", "content": None}, *ASKED]}, 400, "an answer must be text"),
    "sound": ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, 400, "text and image_url"),
    "nothing": ({"messages": [{"role": "user"}]}, 400, "text and image_url"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_not_done_is_refused_with_words(post, name):
    body, status, told = FAULTS[name]
    found, content = post(**{"messages": ASKED, **body})
    assert (found, content["error"]["type"]) == (status, "invalid_request_error")
    assert told in content["error"]["message"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x.png", "/etc/hostname", "data:image/png,x", "data:;base64,@", None]
)
def test_no_address_is_opened(url):
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, text("What is it?")]}
    with pytest.raises(UserError, match=r"no address is opened|not in base64"):
        read_request({"messages": [message]})


def test_damaged_images_and_bodies_are_refused(post):
    status, content = post(messages=[{"role": "user", "content": [part(b"no image"), text("What is it?")]}])
    assert (status, content["error"]["param"]) == (400, "messages, question 1")
    answer = post.client.post("/v1/chat/completions", content="{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "body")


def test_fields_that_change_nothing_are_taken(post):
    neutral = {"n": 1, "logprobs": False, "presence_penalty": 0, "tools": [], "user": "me", "stop": None, "seed": 3}
    assert post(messages=ASKED, model=NAME, max_tokens=2, **neutral)[0] == 200


def test_models_are_listed_and_pages_of_the_net_are_kept_out(post):
    (one,) = post.client.get("/v1/models").json()["data"]
    assert one["id"] == NAME
    assert post.client.get("/v1/models", headers={"host": "evil.example"}).status_code == 400


def test_a_port_that_is_taken_is_refused_before_the_model_is_loaded(exgra, trained):
    pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as other:
        told = exgra("serve", trained, "--port", other.getsockname()[1])
    assert told.code == 2
    assert "--port" in told.err


def test_serving_without_its_extra_is_refused(exgra, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    told = exgra("serve", "runs/none")
    assert told.code == 4
    assert "fastapi" in told.err
    assert "[serve]" in told.err

"""The page of `exgra chat --web` in a headless Chromium, on a desktop and on a phone. Needs the extra web."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from dicom_files import dicom
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs Chromium and its driver"),
]
ENTER = "\ue007"  # of the WebDriver protocol
TEXT = "return document.body.innerText"
CAPTIONS = "return [...document.querySelectorAll('.caption-label')].map(x => x.innerText)"
SAID = "return [...document.querySelectorAll('[data-testid=ROLE]')].map(x => x.innerText.trim())"

CHOOSE = """
const wanted = [...document.querySelectorAll('[role=option]')].find(x => x.innerText.includes('soft tissue'));
wanted?.dispatchEvent(new MouseEvent('mousedown', {bubbles: true}));
return !!wanted;
"""


@pytest.fixture(scope="module")
def home(tiny, tmp_path_factory):
    """The address of a page about two images; its process is ended as by a service manager, and leaves nothing."""
    pytest.importorskip("gradio")
    from medmllm.settings.load import load_config
    from medmllm.training.trainer import train

    folder = tmp_path_factory.mktemp("page")
    train(load_config(str(tiny)), folder / "tiny-run")
    Image.new("L", (56, 56), 180).save(folder / "film.png")
    (folder / "kept").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    images = ["--image", folder / "film.png", "--image", tiny.parent / "1.png"]
    command = [sys.executable, "-m", "exgra", "chat", folder / "tiny-run", "--web", "--port", str(port), *images]
    with (folder / "log").open("wb") as log:
        serving = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(folder / "kept")}, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(address) or serving.poll() is not None)
        assert serving.poll() is None, (folder / "log").read_text()
        yield address
        assert list((folder / "kept").glob("exgra-chat-*"))
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.wait(timeout=60)
    assert list((folder / "kept").glob("exgra-chat-*")) == []


def answers(address):
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


def until(holds, seconds=180):
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def element(opened, selector):
    return next(iter(opened.ask("element", using="css selector", value=selector).values()))


def type_into(opened, selector, text):
    opened.ask(f"element/{element(opened, selector)}/value", text=text)


@pytest.mark.parametrize("screen", ["desktop", "phone"])
def test_a_visitor_asks_about_images_and_a_scan(home, checker, screen, tmp_path):
    scan = dicom(tmp_path / "chest.dcm", np.arange(64, dtype=np.int16).reshape(8, 8) * 40 - 1000)
    with checker.browser(screen) as opened:
        opened.show(f"{home}/")
        until(lambda: opened.run(CAPTIONS) == ["1 · film.png", "2 · 1.png"])
        text = opened.run(TEXT)
        assert "ExGra · tiny-run" in text
        assert "Research software, not a medical device" in text
        assert "Scans are shown" not in text
        type_into(opened, "input[type=file]", str(scan))
        until(lambda: opened.run(CAPTIONS)[2:] == ["3 · chest.dcm"])
        assert "Scans are shown in the window auto" in opened.run(TEXT)
        for number, question in enumerate(("Is it dark?", "And the second?"), 1):
            type_into(opened, "#question textarea", question + ENTER)
            until(
                lambda number=number: len(told := opened.run(SAID.replace("ROLE", "bot"))) == number and "…" not in told
            )
        assert opened.run(SAID.replace("ROLE", "user")) == ["Is it dark?", "And the second?"]
        assert opened.run(checker.LOOK) == []
        asked = [json.loads(entry["message"])["message"] for entry in opened.ask("se/log", type="performance")]
        urls = [e["params"]["request"]["url"] for e in asked if e["method"] == "Network.requestWillBeSent"]
        assert len(urls) > 10
        assert [url for url in urls if not url.startswith((home, "data:", "blob:"))] == []


def test_another_window_starts_over(home, checker, tmp_path):
    scan = dicom(tmp_path / "chest.dcm", np.arange(64, dtype=np.int16).reshape(8, 8) * 40 - 1000)
    with checker.browser("desktop") as opened:
        opened.show(f"{home}/")
        until(lambda: len(opened.run(CAPTIONS)) == 2)
        type_into(opened, "input[type=file]", str(scan))
        until(lambda: len(opened.run(CAPTIONS)) == 3)
        opened.ask(f"element/{element(opened, '#scan-window input')}/click")
        until(lambda: opened.run(CHOOSE))
        until(lambda: "in the window soft_tissue" in opened.run(TEXT))
        (tmp_path / "notes.txt").write_text("no image")
        type_into(opened, "input[type=file]", str(tmp_path / "notes.txt"))
        until(lambda: "not an image" in opened.run("return document.querySelector('.toast-wrap')?.innerText ?? ''"))
        assert opened.run(CAPTIONS)[2:] == ["3 · chest.dcm"]


def test_another_slice_of_a_volume_starts_over(home, checker, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    values = np.arange(16 * 16 * 5, dtype=np.int16).reshape(16, 16, 5)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "ct.nii.gz")
    with checker.browser("desktop") as opened:
        opened.show(f"{home}/")
        until(lambda: len(opened.run(CAPTIONS)) == 2)
        type_into(opened, "input[type=file]", str(tmp_path / "ct.nii.gz"))
        until(lambda: opened.run(CAPTIONS)[2:] == ["3 · ct.nii.gz"])
        type_into(opened, "#slice textarea, #slice input", "coronal=3" + ENTER)
        until(lambda: opened.run(CAPTIONS) == ["1 · film.png", "2 · 1.png", "3 · ct.nii.gz#coronal=3"])
        type_into(opened, "#slice textarea, #slice input", "9" + ENTER)  # 39
        until(lambda: "39" in opened.run("return document.querySelector('.toast-wrap')?.innerText ?? ''"))
        assert opened.run(CAPTIONS)[2:] == ["3 · ct.nii.gz#coronal=3"]

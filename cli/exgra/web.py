"""`exgra chat --web`: a page on this machine alone, by gradio. Each visitor has a conversation of their own."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exgra.screen import say

if TYPE_CHECKING:
    from medmllm.evaluate.conversation import Conversation

HOST = "127.0.0.1"
STYLE = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
#notice { background: #fdf3d7; border: 1px solid #e3c566; border-radius: 8px; padding: 8px 14px; }
#notice p, #notice strong { color: #5c4700 !important; margin: 0; }
#window p { font-size: 85%; margin: 0; }
"""
FONTS = ["system-ui", "sans-serif"]  # those of the machine: none is fetched
Messages = list[dict[str, Any]]
Shown = tuple["Visit", list[tuple[Any, str]], str, Messages]


@dataclass
class Visit:
    """One visitor's conversation, and the files of its images, by which scans are shown in another window."""

    talk: Conversation
    files: list[Path] = field(default_factory=list)
    scans: bool = False

    @classmethod
    def begin(cls, talk: Conversation, files: Sequence[Path]) -> Visit:
        """A conversation of its own about the files that the command line named; the model is shared."""
        visit = cls(replace(talk, images=[], turns=[]))
        visit.add(files)
        return visit

    def add(self, files: Sequence[Path]) -> None:
        """Show more images with the next question; none of them if one cannot be read.

        Raises:
            UserError: a file cannot be shown.
        """
        before = list(self.talk.images)
        try:
            lines = [self.talk.add(file) for file in files]
        except Exception:
            self.talk.images = before
            raise
        self.files += files
        self.scans = self.scans or any(lines)

    def look_through(self, window: str | None) -> None:
        """Show the images in another window, which starts the conversation over.

        Raises:
            ConfigError: there is no such window.
        """
        from medmllm.evaluate.scan_window import check_window

        check_window(window)
        self.talk.window = window
        self.begin_again(self.files)

    def look_at_slice(self, chosen: str) -> None:
        """Show another slice of the volumes, which starts the conversation over.

        Raises:
            UserError: there is no such slice; then everything stays.
        """
        before, turns = list(self.files), list(self.talk.turns)
        try:
            self.begin_again([at_slice(file, chosen) for file in before])
        except Exception:
            self.begin_again(before)
            self.talk.turns = turns
            raise

    def begin_again(self, files: Sequence[Path]) -> None:
        """Forget what was said, and show these files."""
        self.talk.images, self.talk.turns, self.files, self.scans = [], [], [], False
        self.add(files)

    @property
    def window_said(self) -> str:
        """In which window scans are shown; nothing where there are none."""
        from medmllm.data.scans.window import meaning

        if not self.scans:
            return ""
        if self.talk.window is None and self.talk.own is None:
            return "Scans are shown in the window that their file asks for; that of training is not known."
        window = self.talk.window or self.talk.own or ""
        by = "" if self.talk.window else ", as in training"
        return f"Scans are shown in the window **{window}**{meaning(window)}{by}."


def at_slice(file: Path, chosen: str) -> Path:
    """A volume's path with the slice behind it; of another image its path, and of "" the middle slice.

    Raises:
        ConfigError: the text does not name a slice.
    """
    from medmllm.data.images import kind_in
    from medmllm.data.scans.address import address
    from medmllm.data.scans.render import depth
    from medmllm.errors import ConfigError

    path = file if file.exists() else Path(address(str(file)).path)
    kind = kind_in(path, str(path))
    if not kind or depth(path, address(str(path)), kind) < 2:
        return file
    named = Path(f"{path}#{chosen}") if chosen else path
    if address(str(named)).path != str(path):
        raise ConfigError(f"there is no slice {chosen!r:.60}", hint="axial=40, coronal=12 or sagittal=7")
    return named


def check_web() -> None:
    """Say that the extra is missing before a model is loaded."""
    import gradio  # noqa: F401


def serve(talk: Conversation, port: int, model: str, files: Sequence[Path] = ()) -> None:
    """Serve the page until Ctrl-C; nothing is shared with, or sent to, anybody, and no image stays on the disk."""
    from medmllm.errors import ConfigError

    with tempfile.TemporaryDirectory(prefix="exgra-chat-") as folder:
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False")
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)  # as Ctrl-C, so that the folder is removed
        made = page(talk, model, files)
        say(f"the page is at http://{HOST}:{port}; Ctrl-C stops it")
        try:
            made.launch(server_name=HOST, server_port=port, share=False, quiet=True, footer_links=[], **look())
        except OSError as error:
            where = f"--port {port}"
            raise ConfigError(
                f"no page can be served: {error}", where=where, hint="--port with another number"
            ) from None


def look() -> dict[str, Any]:
    """How the page looks, which gradio takes where it is served."""
    import gradio

    return {"theme": gradio.themes.Soft(primary_hue="blue", font=FONTS, font_mono=["monospace"]), "css": STYLE}


def page(talk: Conversation, model: str, images: Sequence[Path] = ()) -> Any:
    """The page: the images with their window, what was said, and a line to ask in."""
    import gradio

    from medmllm.data.scans.window import WINDOWS
    from medmllm.evaluate.predict import NOTICE

    name = Path(model).resolve().name if Path(model).is_dir() else model
    with gradio.Blocks(title=f"ExGra · {name}", analytics_enabled=False, fill_width=True) as blocks:
        visit = gradio.State(None)
        gradio.Markdown(f"## ExGra · {name}")
        gradio.Markdown(f"**{NOTICE}**", elem_id="notice")
        with gradio.Row():
            with gradio.Column(scale=2, min_width=300):
                gallery = gradio.Gallery(
                    label="Images", columns=2, height=400, object_fit="contain", interactive=False, buttons=[]
                )
                window_said = gradio.Markdown(elem_id="window")
                files = gradio.File(label="Add images or scans", file_count="multiple", height=150)
                window = gradio.Dropdown(
                    [("as in training", ""), *((name.replace("_", " "), name) for name in WINDOWS)],
                    value=talk.window or "",
                    label="Window of scans",
                    elem_id="scan-window",
                    info="a name, or centre/width such as 40/400; starts the conversation over",
                    allow_custom_value=True,
                )
                cut = gradio.Textbox(
                    label="Slice of volumes", elem_id="slice", placeholder="axial=40",
                    info="axial, coronal or sagittal and a number from 0; Enter starts the conversation over",
                )  # fmt: skip
            with gradio.Column(scale=3, min_width=320):
                said = gradio.Chatbot(
                    label="Conversation", height=470, buttons=["copy"], feedback_options=None,
                    placeholder="Ask about the images on this page.",
                )  # fmt: skip
                line = gradio.Textbox(
                    elem_id="question", label="Question", placeholder="Is there a fracture?", submit_btn=True
                )
                with gradio.Row():
                    over = gradio.Button("Start over", size="sm")
                    empty = gradio.Button("Remove the images", size="sm")
        everything = [visit, gallery, window_said, said]
        one = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
        blocks.load(lambda: page_state(Visit.begin(talk, images)), None, everything, **one)
        files.upload(add, [visit, files], [*everything, files], **one)
        window.input(look_through, [visit, window], everything, **one)
        cut.submit(look_at_slice, [visit, cut], everything, **one)
        line.submit(answer, [visit, line], [visit, said, line], **one)
        for again in (over.click, said.clear):
            again(lambda now: begin_again(now, now.files), visit, everything, **one)
        empty.click(lambda now: begin_again(now, []), visit, everything, **one)
    return blocks


def page_state(visit: Visit) -> Shown:
    """The parts of the page for a visit."""
    pictures = []
    for number, ((turn, image), file) in enumerate(zip(visit.talk.images, visit.files, strict=True), 1):
        pictures.append((image, f"{number} · {file.name}" + (f" · from question {turn + 1}" if turn else "")))
    return visit, pictures, visit.window_said, chat_messages(visit.talk)


def add(visit: Visit, paths: list[str]) -> tuple[Any, ...]:
    """Add images that were put in, and empty the field for the next."""
    with reported():
        visit.add([Path(path) for path in paths])
    return *page_state(visit), None


def look_through(visit: Visit, window: str) -> Shown:
    """Show the scans in the window that was chosen."""
    with reported():
        visit.look_through(window.strip() or None)
    return page_state(visit)


def look_at_slice(visit: Visit, chosen: str) -> Shown:
    """Show the slice that was typed."""
    with reported():
        visit.look_at_slice(chosen.strip())
    return page_state(visit)


def begin_again(visit: Visit, files: Sequence[Path]) -> Shown:
    """Start over with these files."""
    visit.begin_again(files)
    return page_state(visit)


@contextmanager
def reported() -> Iterator[None]:
    """Show an error of the user's input on the page."""
    import gradio

    from medmllm.errors import UserError

    try:
        yield
    except UserError as error:
        gradio.Warning(f"{error.message}: {error.hint}" if error.hint else error.message, duration=20)


def answer(visit: Visit, question: str) -> Iterator[tuple[Visit, Messages, str]]:
    """Show the question at once and the answer when it is there; after a failure the question stays in the line."""
    from medmllm.errors import ConfigError, UserError

    asked = question.strip()
    if not asked:
        yield visit, chat_messages(visit.talk), ""
        return
    waiting = [*chat_messages(visit.talk), {"role": "user", "content": asked}]
    yield visit, [*waiting, {"role": "assistant", "content": "…"}], ""
    try:
        if not visit.talk.images:
            raise ConfigError("there is no image to talk about", hint="add one on the left")
        visit.talk.ask(asked)
    except UserError as error:
        yield visit, [*waiting, {"role": "assistant", "content": f"error: {error.message} ({error.hint})"}], question
        return
    yield visit, chat_messages(visit.talk), ""


def chat_messages(talk: Conversation) -> Messages:
    """The turns as gradio takes them."""
    return [
        {"role": role, "content": text}
        for turn in talk.turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]

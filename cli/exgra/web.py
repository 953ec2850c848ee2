"""`exgra chat --web`: a page on this machine, by gradio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medmllm.evaluate.conversation import Conversation

Messages = list[dict[str, Any]]


def check_web() -> None:
    """Say that the extra is missing before a model is loaded."""
    import gradio  # noqa: F401


def serve(talk: Conversation, port: int) -> None:
    """Serve the page until Ctrl-C; nothing is shared with, or sent to, anybody."""
    page(talk).launch(server_name="127.0.0.1", server_port=port, share=False, quiet=True)


def page(talk: Conversation) -> Any:
    """The page: an image, what was said, and a line to ask in. It holds one conversation, as the terminal does."""
    import gradio

    from medmllm.evaluate.predict import NOTICE

    with gradio.Blocks(title="ExGra", analytics_enabled=False) as blocks:
        gradio.Markdown(f"**{NOTICE}**")
        image = gradio.Image(value=talk.image, type="pil", label="Image")
        more = gradio.Image(type="pil", label="One more image, shown with the next question")
        said = gradio.Chatbot(value=talk_messages(talk), label="Conversation")
        line = gradio.Textbox(label="Question", submit_btn=True)
        image.change(lambda shown: look(talk, shown), image, said)
        more.upload(lambda shown: talk.add_image(shown), more, None)
        line.submit(lambda question: answer(talk, question), line, [said, line])
    return blocks


def look(talk: Conversation, shown: Any) -> Messages:
    """Start over with the image that was put in; none is left as it was."""
    if shown is not None:
        talk.look_at(shown)
    return talk_messages(talk)


def answer(talk: Conversation, question: str) -> tuple[Messages, str]:
    """Asks, and empties the line; a failure is reported in place of the answer."""
    from medmllm.errors import UserError

    if not question.strip():
        return talk_messages(talk), ""
    try:
        talk.ask(question.strip())
    except UserError as error:
        told = f"error: {error.message} ({error.hint})"
        return [*talk_messages(talk), {"role": "assistant", "content": told}], question
    return talk_messages(talk), ""


def talk_messages(talk: Conversation) -> Messages:
    return [
        {"role": role, "content": text}
        for turn in talk.turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]

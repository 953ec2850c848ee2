"""The web side of `exgra serve`: OpenAI's routes and errors around `medmllm.evaluate.completions`."""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI
    from torch import Tensor

    from medmllm.errors import UserError
    from medmllm.evaluate.completions import Answerer, Completion, Request

OWN = ["127.0.0.1", "localhost"]  # under another name a page of the net could talk to the port


def application(answerer: Answerer, name: str) -> FastAPI:
    """The routes `/v1/chat/completions`, `/v1/models` and `/health` for one model."""
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, StreamingResponse
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from medmllm.errors import ConfigError, UserError
    from medmllm.evaluate.completions import read_request

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=OWN)
    made = int(time.time())

    @app.exception_handler(UserError)
    def refuse(_: Any, error: UserError) -> Any:
        return JSONResponse(problem(error), 404 if error.where == "model" else 400)

    @app.exception_handler(RequestValidationError)
    def refuse_body(_: Any, error: RequestValidationError) -> Any:
        said = "; ".join(one["msg"] for one in error.errors())
        return JSONResponse(problem(ConfigError(f"the body is not a JSON object: {said}", where="body")), 400)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok"}

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name, "object": "model", "created": made, "owned_by": "exgra"}]}

    @app.post("/v1/chat/completions", response_model=None)
    def complete(body: dict[str, Any]) -> Any:
        if body.get("model", name) != name:
            raise ConfigError(f"there is no model {body['model']!r:.60}", where="model", hint=f"model={name!r}")
        request = read_request(body, answerer.window)
        inputs = answerer.prepare(request)
        if body.get("stream"):
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return StreamingResponse(
                streamed(answerer, request, inputs, name, usage=usage), media_type="text/event-stream"
            )
        said = answerer.answer(request, inputs)
        choice = {"index": 0, "message": {"role": "assistant", "content": said.text}, "finish_reason": said.finish}
        return {**header("chat.completion", name), "choices": [choice], "usage": token_counts(said)}

    return app


def problem(error: UserError) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return {"error": {"message": message, "type": "invalid_request_error", "param": error.where, "code": None}}


def header(kind: str, name: str) -> dict[str, Any]:
    """What every response begins with."""
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": name}


def token_counts(said: Completion) -> dict[str, int]:
    """How many tokens were read and written."""
    return {"prompt_tokens": said.read, "completion_tokens": said.written, "total_tokens": said.read + said.written}


def streamed(
    answerer: Answerer, request: Request, inputs: dict[str, Tensor], name: str, *, usage: bool
) -> Iterator[str]:
    """The answer in parts, as server-sent events; a reader who leaves ends the work."""
    from medmllm.evaluate.completions import CancelledError

    heard: queue.Queue[str | Completion | Exception] = queue.Queue()
    left = threading.Event()

    def hear(part: str) -> None:
        if left.is_set():
            raise CancelledError
        if part:
            heard.put(part)

    def work() -> None:
        try:
            heard.put(answerer.answer(request, inputs, hear))
        except Exception as error:  # reported to the reader, who has half an answer
            heard.put(error)

    threading.Thread(target=work, daemon=True).start()
    head = header("chat.completion.chunk", name)

    def event(delta: dict[str, str], finish: str | None = None) -> str:
        return line({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    try:
        yield event({"role": "assistant", "content": ""})
        while isinstance(part := heard.get(), str):
            yield event({"content": part})
        if isinstance(part, Exception):
            yield line({"error": {"message": str(part), "type": "server_error", "param": None, "code": None}})
            return
        yield event({}, part.finish)
        if usage:
            yield line({**head, "choices": [], "usage": token_counts(part)})
        yield "data: [DONE]\n\n"
    finally:
        left.set()


def line(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"

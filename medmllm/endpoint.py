"""Asking a language model behind an OpenAI-compatible endpoint: bounded retries, one pace for all threads, no leaks.

Written on the standard library: one kind of request, and full say over retries, redirects, and where the key goes.
"""

from __future__ import annotations

import base64
import html
import http.client
import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from medmllm.errors import ConfigError, RunError

_LARGEST = 2**22  # bytes of an answer
_PIECE = 2**16
_SECRET = 8  # characters of a key that nobody guesses
_LONGEST_PAUSE = 60.0  # seconds between tries, but where the server says how long
_LONGEST_WAIT = 900.0  # seconds that a server may ask to wait for
_HERE = ("127.0.0.1", "::1", "localhost")
_FATAL = (401, 402, 403, 404, 405, 410)  # errors that every further request would meet too
_TRY_AGAIN = (408, 409, 425, 429)  # and 500 to 599
Message = Mapping[str, str]
T = TypeVar("T")


class TransientError(Exception):
    """The request may succeed later: the server is busy, broken, slow, or sent something that is not an answer."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class RefusedError(Exception):
    """This request will not succeed, but others may."""


class Pace:
    """One pace for all threads: so many requests a minute, and none while the server has asked to wait."""

    def __init__(self, per_minute: float | None) -> None:
        self.step = 60.0 / per_minute if per_minute else 0.0
        self._lock, self._next, self.stopped = threading.Lock(), 0.0, threading.Event()

    def take(self) -> None:
        """Wait for one's turn."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self.step
        self.wait(turn - now)

    def hold(self, seconds: float) -> None:
        """Let nobody start for a while."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond `stopped`."""
        if self.stopped.wait(max(0.0, seconds)):
            raise TransientError("stopped")


@dataclass(frozen=True)
class Endpoint:
    """A model behind an endpoint.

    The key is read from the environment when a request is made and is kept nowhere else: not in `repr`, in no file, and
    it is replaced in whatever the server says. It is sent to this address only; redirects are not followed.

    Args:
        url: address up to `/v1`, as "https://api.example.org/v1".
        model: the model's name there.
        key: name of the environment variable that holds the key; no key is sent where it is not set.
        seconds: limit of one request as a whole, however slowly it trickles.
        tries: how often a request is sent at most.
        per_minute: requests a minute of all threads together; None for no limit.
    """

    url: str
    model: str
    key: str = "OPENAI_API_KEY"
    seconds: float = 60.0
    tries: int = 6
    per_minute: float | None = None
    pace: Pace = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_]\w*", self.key, re.ASCII):  # perhaps the key itself, so it is not repeated
            hint = "put the key into the environment, and give the variable's name"
            raise ConfigError("this is not the name of an environment variable", where="--key-env", hint=hint)
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known or not self.url.isascii() or not self.url.isprintable() or " " in self.url:
            raise ConfigError("this is not the address of an endpoint", hint="as in https://api.example.org/v1")
        self._check_key()
        if parts.username or parts.password or parts.query:
            raise ConfigError("the address must not hold a key", hint=f"put it into the environment as {self.key}")
        if parts.scheme == "http" and parts.hostname not in _HERE and self._key():
            raise ConfigError(f"a key would travel openly to {parts.hostname}", hint="use https")
        object.__setattr__(self, "pace", Pace(self.per_minute))

    def ask(self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0, seed: int = 0) -> str:
        """The model's answer to one conversation; one request, no retry.

        Raises:
            TransientError: worth another try.
            RefusedError: this request will not be answered.
            RunError: no request will be: wrong key, wrong model, wrong address.
        """
        body = {"model": self.model, "messages": list(messages), "max_tokens": max_tokens}
        body |= {"temperature": temperature, "seed": seed}
        self.pace.take()
        try:
            return self.hide(_text_of(self._post(json.dumps(body).encode())))
        except urllib.error.HTTPError as error:
            raise self._failure(error) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise TransientError(self.hide(f"no connection, or it broke ({getattr(error, 'reason', error)})")) from None

    def hide(self, text: str) -> str:
        """The text without the key, also where that is escaped, encoded or in capitals.

        A word such as EMPTY, which servers without keys are given, is replaced only where it stands as it is.
        """
        key = self._key()
        if len(key) < _SECRET:
            return re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", "[key]", text) if key else text
        forms = {key, quote(key), quote(key, safe=""), json.dumps(key)[1:-1], html.escape(key), _base64(key)}
        return re.sub("|".join(map(re.escape, sorted(forms, key=len, reverse=True))), "[key]", text, flags=re.I)

    def _key(self) -> str:
        return os.environ.get(self.key, "").strip()

    def _check_key(self) -> None:
        """Refuse a key that no header can carry, such as one with a line break, without repeating it."""
        key = self._key()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError(
                "the key must be one line of printable ASCII characters without a space",
                where=f"the environment variable {self.key}",
                hint="copy the key again; quotes and line breaks do not belong to it",
            )

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "exgra"}
        if self._key():
            headers["Authorization"] = f"Bearer {self._key()}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", body, headers)
        # A proxy would be sent the key of a server on this machine openly.
        direct = [urllib.request.ProxyHandler({})] if urlsplit(self.url).hostname in _HERE else []
        until = time.monotonic() + self.seconds
        with urllib.request.build_opener(_Stay, *direct).open(request, timeout=self.seconds) as answer:
            return _read(answer, until)

    def _failure(self, error: urllib.error.HTTPError) -> Exception:
        content = _says(error, time.monotonic() + self.seconds)
        says = " ".join(self.hide(content).split())[:300] or self.hide(str(error.reason))
        if error.code in _TRY_AGAIN or error.code >= 500:
            wait = _retry_after(error.headers.get("Retry-After"))
            if wait is not None and wait > _LONGEST_WAIT:
                return RunError(f"the server asks to wait for {wait:.0f} s", where=self.url, hint="continue later")
            return TransientError(f"HTTP {error.code}: {says}", wait)
        if error.code in _FATAL or 300 <= error.code < 400:
            hint = f"check the address, the model's name, and the key in the environment variable {self.key}"
            return RunError(f"HTTP {error.code}: {says}", where=self.url, hint=hint)
        return RefusedError(f"HTTP {error.code}: {says}")


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another address."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def with_retries(call: Callable[[int], T], pace: Pace, *, tries: int, salt: str, base: float = 1.0) -> T:
    """Call until it succeeds, at most `tries` times, with doubled pauses or those that the server asks for.

    Args:
        call: is given the number of the try, from 0.
        pace: where waiting happens; a server's wish holds up all threads.
        tries: how often at most.
        salt: spreads the pauses of different requests, so that they do not come back all at once.
        base: first pause, seconds.

    Raises:
        TransientError: the last one.
    """
    for number in range(tries):
        try:
            return call(number)
        except TransientError as error:
            if number == tries - 1:
                raise
            if error.wait is not None:
                pace.hold(error.wait)
            spread = 0.5 + sha256(f"{salt}/{number}".encode()).digest()[0] / 255
            pace.wait(error.wait if error.wait is not None else min(_LONGEST_PAUSE, base * 2**number) * spread)
    raise AssertionError("tries must be at least 1")


def _text_of(content: bytes) -> str:
    """The text of the first choice."""
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise TransientError(f"the server's answer is not what it should be ({type(error).__name__})") from None
    if not isinstance(text, str) or not text.strip():
        raise TransientError("the model's answer is empty")
    return text


def _read(answer: Any, until: float) -> bytes:
    """All of an answer, but not beyond a moment or a size."""
    pieces: list[bytes] = []
    while piece := answer.read1(_PIECE):
        pieces.append(piece)
        if time.monotonic() > until:
            raise TransientError("the answer took longer than the limit of a request")
        if sum(map(len, pieces)) > _LARGEST:
            raise RefusedError(f"the answer has more than {_LARGEST:,} bytes")
    return b"".join(pieces)


def _says(error: urllib.error.HTTPError, until: float) -> str:
    """The server's message."""
    try:
        with error:
            content = _read(error, until).decode("utf-8", "replace")
    except (TransientError, RefusedError, OSError, http.client.HTTPException):
        return str(error.reason)
    try:
        found = json.loads(content)["error"]
        content = found["message"] if isinstance(found, dict) else str(found)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return content


def _base64(key: str) -> str:
    return base64.b64encode(key.encode()).decode()


def _retry_after(value: str | None) -> float | None:
    """Seconds of the header, which is a number or a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None

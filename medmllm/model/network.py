"""Whether the hub can be reached, asked once before its client, which would try again for most of a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, get_session

WAIT = 5.0  # seconds; a firewall that drops packets never answers


@contextmanager
def reaching(place: str) -> Iterator[None]:
    """Read a model of the hub from the cache alone while there is no network, so that a missing one fails at once.

    Args:
        place: a folder, which needs no network, or an id on the hub.
    """
    if constants.HF_HUB_OFFLINE or Path(place).is_dir() or hub_answers():
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def hub_answers() -> bool:
    """Whether anything answers at the address of the hub, whatever it says."""
    try:
        get_session().head(constants.ENDPOINT, timeout=WAIT)
    except Exception:  # the client's own kinds of error differ between its releases
        return False
    return True

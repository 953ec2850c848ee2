"""A page of HTML in one file: nothing is loaded from anywhere, light and dark, readable on a phone."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def page(template: str, **values: Any) -> str:
    """Return the page that a template of this folder makes of the values; their text is escaped.

    Args:
        template: its name, as `sweep` for `templates/sweep.html`.
        values: what it shows; `title` is always one.
    """
    return _environment().get_template(f"{template}.html").render(values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

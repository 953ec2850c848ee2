"""Lets an `Example:` section of a docstring be drawn as code, as griffe does with `Examples:` only."""

import re
from typing import Any

from griffe import Extension, Object


class Singular(Extension):
    """Reads the singular as the plural."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:", "Examples:", obj.docstring.value, flags=re.MULTILINE)

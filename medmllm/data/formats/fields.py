"""Fields that rows of every format share: id, image, text, split; each checked, and each fault told."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass, field
from typing import Any

from medmllm.data.formats.reading import SPLITS, Reading, half_character, kind_of, split_name
from medmllm.data.images import locate

_OUTSIDE = "move the images beside the data file, or set data.allow_outside=true if you trust it"
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # a drive or a share
_RELATIVE = "write paths relative to the data file's folder, as in scans/7.png, or to data.images"


@dataclass(slots=True)
class Fields:
    """Reads the fields of one row after another.

    Attributes:
        reading: where records and faults go.
        allow_outside: do not refuse image paths that leave the folder.
        number: the row's number.
    """

    reading: Reading
    allow_outside: bool = False
    number: int = 0
    _outside: dict[str, str] = field(default_factory=dict)  # what is wrong with each image's path, asked once

    def wrong(self, name: str, message: str, hint: str = "", check: str = "row") -> None:
        self.reading.report(self.number, name, message, hint, check)

    def identity(self, value: Any, name: str = "id") -> str:
        """The row's id, which no earlier row of the file has."""
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            message = "is missing" if value in (None, "") else f"is {kind_of(value)}"
            self.wrong(name, message, "give every row an id of its own")
            return ""
        earlier = self.reading.rows.setdefault(str(value), self.number)
        if earlier != self.number:
            self.wrong(name, f"{value!r} is also the id of row {earlier}", "give every row an id of its own")
        return self.whole(name, str(value))

    def image(self, name: Any, field_name: str = "image", folder: str = "") -> str:
        """The image's name, relative to the folder that it may not leave."""
        if not isinstance(name, str) or not name:
            message = "is missing" if name in (None, "") else f"is {kind_of(name)}"
            self.wrong(field_name, message, "name one image file")
            return ""
        if not self.whole(field_name, name):
            return ""
        if os.name != "nt" and _WINDOWS.match(name):
            self.wrong(field_name, f"the image path {name!r} is an absolute Windows path", _RELATIVE)
            return ""
        name = posixpath.join(folder, self._slashed(name, folder))
        if name not in self._outside:
            self._outside[name] = self._fault_of_path(name)
        if self._outside[name]:
            self.wrong(field_name, self._outside[name], _OUTSIDE)
        return posixpath.normpath(name) + ("/" if name.endswith("/") else "")

    def _slashed(self, name: str, folder: str) -> str:
        """A path that Windows wrote, with slashes, unless a file has that very name."""
        there = "\\" in name and os.path.exists(os.path.join(self.reading.folder, folder, name))
        return name if there else name.replace("\\", "/")

    def _fault_of_path(self, name: str) -> str:
        try:
            locate(self.reading.folder, name, allow_outside=self.allow_outside)
        except ValueError as cause:
            return str(cause)
        return ""

    def text(self, value: Any, name: str, default: str = "") -> str:
        """A text or a number as text; the default where there is none."""
        if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int, float))):
            self.wrong(name, f"is {kind_of(value)}, not text")
            return default
        text = "" if value is None else self.whole(name, str(value)).strip()
        return text or default

    def split(self, value: Any, name: str = "split") -> str:
        """The split that a row names, or the file's."""
        word = self.text(value, name)
        found = split_name(word) if word else self.reading.split
        if found is None:
            self.wrong(name, f"{word!r} is no split", f"one of {', '.join(SPLITS)}")
        return found or self.reading.split

    def whole(self, name: str, text: str) -> str:
        """The text; "" where it holds half of a character, which no file of the run could hold."""
        half = half_character(text)
        if half:
            hint = "write both halves of the character, or leave it out"
            self.wrong(name, f"holds half of a character ({half})", hint)
        return "" if half else text

    def subjects_agree(self) -> None:
        """Report images of two people or of two splits: they would leak from one split into the other."""
        owner: dict[str, str] = {}
        for record in self.reading.records:
            if owner.setdefault(record.image, record.subject) != record.subject:
                message = f"the image {record.image!r} belongs to {owner[record.image]!r} in an earlier row"
                row, hint = self.reading.rows[record.id], "give all rows of an image the same subject"
                self.reading.report(row, "subject", message, hint)

"""Errors that a person can act on: what is wrong, where, and what to do.

Each class carries the exit code that the command line ends with.
"""

from __future__ import annotations


class UserError(Exception):
    """A failure with a cause, a place and a remedy; never shown as a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.where, self.hint = message, where, hint


class RunError(UserError):
    """The run itself failed: a full disk, a diverged loss."""


class ConfigError(UserError):
    """The configuration or the way a command was called is wrong."""

    exit_code = 2


class PackageError(ConfigError, ValueError):
    """An installed package adds a component that cannot be used."""


class DataError(UserError):
    """A data file, a row or an image cannot be used."""

    exit_code = 3


class MissingExtraError(UserError):
    """A package of an optional extra is not installed."""

    exit_code = 4

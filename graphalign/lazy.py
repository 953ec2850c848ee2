"""Public names of a package that are imported when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def import_on_use(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__`, which imports a public name from the module that defines it.

    So a program that needs no tensor loads no torch.

    Args:
        package: The package's `__name__`.
        home: Module, relative to the package, to the names that it defines, with spaces between them.
    """
    modules = {name: module for module, names in home.items() for name in names.split()}

    def attribute(name: str) -> Any:
        """Import the module of a public name at its first use; the `__getattr__` of the package."""
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, found)
        return found

    return attribute

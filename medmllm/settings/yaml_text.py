"""YAML as people expect it: `1e-3` is a number, `no` is a word, and a key given twice is an error.

PyYAML reads YAML 1.1, where `1e-3` is a string, `no` is false, `010` is eight and `12:30` is 750; here the scalars of
YAML 1.2's core schema hold, for reading and for writing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from typing import Any

import yaml

LONGEST = 2**20  # characters of a configuration
MOST = 100_000  # values in it
SCALARS = {
    "null": ("~nN", r"~|null|Null|NULL|"),
    "bool": ("tTfF", r"true|True|TRUE|false|False|FALSE"),
    "int": ("-+0123456789", r"[-+]?(0|[1-9][0-9_]*)"),
    "float": (
        "-+.0123456789",
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    ),
}


def resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """First character -> the scalar types that may start with it, as PyYAML keeps them."""
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for name, (first, pattern) in SCALARS.items():
        for character in [*first, ""] if name == "null" else first:
            table.setdefault(character, []).append((f"tag:yaml.org,2002:{name}", re.compile(f"(?:{pattern})$")))
    return table


def plain_scalars() -> dict[Any, Any]:
    """Tag -> PyYAML's constructor of a scalar; the one without a tag refuses all others."""
    constructors = yaml.SafeLoader.yaml_constructors.items()
    return {tag: make for tag, make in constructors if tag is None or tag.rpartition(":")[2] in (*SCALARS, "str")}


class Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = resolvers()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be one word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def plain_list(self, node: yaml.SequenceNode) -> list[Any]:
        return self.construct_sequence(node, deep=True)  # at once, so that PyYAML refuses a list that holds itself

    def plain_mapping(self, node: yaml.MappingNode) -> dict[Hashable, Any]:
        return self.construct_mapping(node, deep=True)

    # The values of JSON and no others: no sets, dates or bytes.
    yaml_constructors = {  # noqa: RUF012
        **plain_scalars(),
        "tag:yaml.org,2002:seq": plain_list,
        "tag:yaml.org,2002:map": plain_mapping,
    }


class Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = resolvers()


def parse_yaml(text: str) -> Any:
    """The plain values that a YAML text stands for: those of JSON.

    Raises:
        yaml.YAMLError: not YAML, a key given twice or not a scalar, a value that JSON does not have or that holds
            itself, or one that is too large once its aliases are written out.
    """
    if len(text) > LONGEST:
        raise yaml.MarkedYAMLError(problem=f"longer than {LONGEST:,} characters")
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if written_out(node, {}) > MOST:
            raise yaml.MarkedYAMLError(problem=f"more than {MOST:,} values once its aliases are written out")
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="nested too deeply") from None
    except (ValueError, LookupError) as error:  # a tag on a text that it does not fit, as in `!!int abc`
        raise yaml.MarkedYAMLError(problem=str(error)) from None


def written_out(node: yaml.Node, sizes: dict[int, int]) -> int:
    """How many values a node stands for where each alias counts as all that it names."""
    if id(node) not in sizes:
        sizes[id(node)] = 1  # for a node that holds itself, which the constructor refuses
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        inner = (part for entry in parts for part in (entry if isinstance(entry, tuple) else (entry,)))
        sizes[id(node)] = 1 + sum(written_out(part, sizes) for part in inner)
    return sizes[id(node)]


def write_yaml(value: Any) -> str:
    """YAML that `parse` reads back as `value`, keys in their order."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, width=math.inf, allow_unicode=True)

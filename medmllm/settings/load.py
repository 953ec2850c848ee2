"""From a preset or a file and `key=value` words to a checked `Config`, and back to text.

Every problem is found at once, each with the nearest thing that would have been right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from graphalign.counts import count_of
from medmllm.errors import ConfigError, command_line, did_you_mean
from medmllm.settings.messages import Problem, describe_all, section_at, section_needed
from medmllm.settings.parts import PARTS, check_parts
from medmllm.settings.schema import Config
from medmllm.settings.yaml_text import LONGEST, parse_yaml, write_yaml

PRESETS = Path(__file__).parents[1] / "configs"
KEY = re.compile(r"\w+(\.\w+)*")
LONE = re.compile("[\ud800-\udfff]")  # halves of characters, which UTF-8 cannot write


class InvalidConfig(ConfigError):
    """A configuration with problems; all of them are in `problems`."""

    def __init__(self, problems: Sequence[Problem], where: str = "") -> None:
        width = max(len(problem.key) for problem in problems)
        lines = [f"  {problem.key:{width}}  {problem.message}" for problem in problems]
        super().__init__(
            "\n".join([f"the configuration has {count_of(len(problems), 'problem')}", *lines]), where=where
        )
        self.problems = tuple(problems)


def presets() -> dict[str, Path]:
    """The configurations that come with the package, by name."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}


def load_config(
    source: str = "demo", overrides: Sequence[str] = (), flags: Mapping[str, object] | None = None
) -> Config:
    """Read, override and check a configuration.

    Args:
        source: a preset's name, a YAML file, or a run's folder (its `config.yaml`).
        overrides: `key=value` words: dotted keys and YAML values, as in `train.lr=1e-3`.
        flags: dotted key -> value, from options of their own such as `--solver`; None means "not given".

    Raises:
        InvalidConfig: with every problem found.
        ConfigError: no such preset or file, or not YAML.
    """
    path = find(source)
    tree = Config().model_dump(mode="json")
    merge_trees(tree, inherited(path))
    problems = list(apply(tree, overrides, flags or {}))
    config, found = check_tree(tree)
    if config is None or problems + found:
        raise InvalidConfig(problems + found, where="" if source in presets() else str(path))
    return config


def dump(config: Config) -> str:
    """The whole configuration as YAML that `load` reads back."""
    return write_yaml(config.model_dump(mode="json"))


def schema() -> dict[str, Any]:
    """JSON schema of a configuration file, for editors."""
    return Config.model_json_schema()


def differences(first: Config, second: Config) -> list[str]:
    """Dotted keys in which two configurations differ."""
    one, other = dict(leaves(first.model_dump(mode="json"))), dict(leaves(second.model_dump(mode="json")))
    return [key for key in one | other if one.get(key, ...) != other.get(key, ...)]


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key -> plain value; lists by index."""
    if not isinstance(tree, (dict, list)):
        yield prefix.rstrip("."), tree
        return
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from leaves(value, f"{prefix}{key}.")


_DATA = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx", ".zip", ".tar")  # not .yaml


def find(source: str) -> Path:
    """The file behind a preset's name, a path, or a run's folder."""
    path = presets().get(source) or Path(source)
    try:
        path = path / "config.yaml" if path.is_dir() else path
        if path.is_file():
            return path
    except OSError as error:  # a name too long, or a folder that may not be looked into
        raise ConfigError(f"{source} cannot be opened: {error.strerror}", hint="check the path") from None
    hint = did_you_mean(source, presets(), "`exgra config list` shows the presets")
    raise ConfigError(f"{source} is neither a preset nor a file", hint=hint)


def read_config(path: Path) -> dict[str, Any]:
    """A YAML file's mapping."""
    try:
        with path.open(encoding="utf-8") as file:
            tree = parse_yaml(file.read(LONGEST + 1))
    except UnicodeDecodeError:
        raise ConfigError("the file is not UTF-8 text", where=str(path)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        say = getattr(error, "problem", None) or "not YAML"
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"the file cannot be read: {say}", where=where, hint=_if_data(path)) from None
    if not isinstance(tree, dict | None):
        say = "the file must hold keys and values, as in `seed: 1`"
        raise ConfigError(say, where=str(path), hint=_if_data(path))
    return tree or {}


def _if_data(path: Path) -> str:
    """How to train on the file, where its name is that of data and not of a configuration."""
    return command_line("train", f"data.source={path}") if path.suffix.lower() in _DATA else ""


def inherited(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A YAML file's mapping over that of the preset or file that its `extends` names.

    Raises:
        ConfigError: what it extends does not exist, or extends it in turn.
    """
    tree = read_config(path)
    base = tree.pop("extends", None)
    if base is None:
        return tree
    beside = path.parent / str(base)
    above = beside if beside.is_file() else find(str(base))
    if above in (path, *below):
        raise ConfigError(f"{path.name} extends itself by way of {base}", where=f"{path}: extends")
    whole = inherited(above, (path, *below))
    merge_trees(whole, tree)
    return whole


def merge_trees(tree: dict[str, Any], update: Mapping[str, Any], above: str = "") -> None:
    """Lay `update` over `tree`, section by section; a list replaces a list.

    Keys below a part of the alignment are settings of it, as in `align: {estimator: {samples: 8}}`.

    Raises:
        InvalidConfig: a part has no such setting.
    """
    for key, value in update.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            merge_trees(tree[key], value, f"{above}{key}.")
        elif isinstance(value, dict) and isinstance(tree.get(key), str) and part_of(f"{above}{key}."):
            settings = list(flattened(value))
            if problems := [found for setting in settings for found in put_setting(tree, key, *setting)]:
                raise InvalidConfig(problems)
        else:
            tree[key] = value


def flattened(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key -> value of nested mappings; lists are values."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def apply(tree: dict[str, Any], overrides: Sequence[str], flags: Mapping[str, object]) -> Iterator[Problem]:
    """Put every override into the tree, and yield what is wrong with any."""
    given: set[str] = set()
    settings = [split_word(word) for word in overrides] + [(k, v) for k, v in flags.items() if v is not None]
    # Settings of parts come last, inner ones after outer ones: what they belong to may be given after them.
    for key, value in sorted(settings, key=lambda setting: setting[0].count(".") if part_of(setting[0]) else 0):
        if isinstance(value, Problem):
            yield value
        elif key in given:
            yield Problem(key, "is given twice")
        else:
            yield from put(tree, key, value)
        given.add(key)


def split_word(word: str) -> tuple[str, Any]:
    """`key=value` as a key and a plain value, or a `Problem` in the value's place."""
    key, equals, text = word.partition("=")
    if not equals or not KEY.fullmatch(key):
        return word, Problem(word, "is not KEY=VALUE, as in train.lr=1e-3")
    if holds_text(key):  # taken as it stands: no quoting of 007 or of a path with a colon
        return key, text
    try:
        return key, parse_yaml(text)
    except yaml.YAMLError:
        return key, Problem(key, f"has a value that is not YAML: {text}")


def holds_text(key: str) -> bool:
    *above, name = key.split(".")
    model = section_at(tuple(above))
    field = model.model_fields.get(name) if model else None
    return field is not None and field.annotation is str


def put(tree: Any, key: str, value: Any) -> Iterator[Problem]:
    """Set one dotted key; numbers in the key count entries of a list."""
    if (part := part_of(key)) is not None:
        yield from put_setting(tree.get("align"), part, key.removeprefix(f"align.{part}."), value)
        return
    *above, name = key.split(".")
    for part in above:
        tree = tree.setdefault(part, {}) if isinstance(tree, dict) else list_entry(tree, part)
    if isinstance(tree, list) and list_entry(tree, name) is not None:
        tree[int(name)] = value
    elif not isinstance(tree, dict):
        yield Problem(key, f"names nothing: {'.'.join(above)} has no entry {name}")
    elif isinstance(value, dict):
        merge_trees(tree, {name: value})
    elif isinstance(tree.get(name), dict) and section_at(tuple(key.split("."))):
        yield Problem(key, section_needed(key, tuple(key.split(".")), value))
    else:
        tree[name] = value


def part_of(key: str) -> str | None:
    """Return the part of the alignment that a key like `align.estimator.samples` is a setting of."""
    return next((part for part in PARTS if key.startswith(f"align.{part}.")), None)


def put_setting(align: Any, part: str, name: str, value: Any) -> Iterator[Problem]:
    """Set one argument in the spec of a part: with `align.estimator.samples=8`, `imle` is `imle(samples=8)`."""
    from graphalign.registry import with_argument

    try:
        align[part] = with_argument("loss" if part == "criterion" else part, align[part], name, value)
    except (ValueError, TypeError, AttributeError) as error:
        plain = part == "criterion" and align.get(part) in ("hamming", "cross_entropy")
        yield Problem(f"align.{part}.{name}", f"{align[part]} takes no settings" if plain else str(error))


def list_entry(items: Any, index: str) -> Any:
    """The entry of a list, None where there is none."""
    inside = isinstance(items, list) and index in map(str, range(len(items)))
    return items[int(index)] if inside else None


def check_tree(tree: dict[str, Any]) -> tuple[Config | None, list[Problem]]:
    """The configuration, or None, and everything that is wrong with it."""
    try:
        problems = [*halves(tree), *check_parts(tree.get("align"))]
        text = LONE.sub("?", json.dumps(tree, ensure_ascii=False))
    except RecursionError:
        return None, [Problem("config", "is nested too deeply")]
    try:
        # As JSON, so that strict checking still reads a list as a tuple.
        return Config.model_validate_json(text, strict=True), problems
    except ValidationError as error:
        return None, describe_all(error.errors()) + problems


def halves(tree: dict[str, Any]) -> Iterator[Problem]:
    """What UTF-8 cannot write, and so could not be saved."""
    for key, value in leaves(tree):
        if LONE.search(f"{key}{value}"):
            yield Problem(ascii(key)[1:-1], f"holds half of a character (got {value!r})")

"""A grid: axes of settings, their product, and one run for each point and seed.

    name: solver-x-estimator
    base: demo
    settings: {train.steps: 200}
    axes:
      solver: [hungarian, sinkhorn]
      objective:
        plain: {align.weight: 0}
        graph: {align.weight: 3}
    exclude: [{solver: sinkhorn, objective: plain}]
    reference: {solver: hungarian, objective: graph}
    seeds: 5
    split: test

An axis lists values of one setting, or names points that set several. `split` says whose answers are compared; with
`validation` no run sees a test question, as it should be where settings are chosen.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from medmllm.ablate.places import key_of_settings
from medmllm.errors import ConfigError, did_you_mean
from medmllm.planning.plan import check_config
from medmllm.settings import load as settings
from medmllm.settings.schema import Config

SHIPPED = Path(__file__).parents[1] / "configs" / "ablations"
# What people swap most often, by a short name.
SHORT = {
    name: f"align.{name}" for name in ("solver", "estimator", "graph", "affinity", "barycenter", "weight", "loss")
} | {"fraction": "data.fraction"}
KEYS = {"name", "base", "settings", "axes", "exclude", "reference", "seeds", "split"}
SPLITS = ("test", "validation", "test_slab")

BARE = re.compile(r"[-+.\d]+(e[-+]?\d+)?|true|false|none|null", re.IGNORECASE)  # labels that say nothing alone

Point = dict[str, str]  # axis -> label


@dataclass(frozen=True)
class Axis:
    """One dimension of a grid.

    Attributes:
        name: of the column in tables.
        values: label -> the settings (dotted key -> value) that it stands for.
    """

    name: str
    values: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, name: str, values: Any) -> Axis:
        """An axis from a list of one setting's values, or from named groups of settings."""
        if isinstance(values, dict) and values and all(isinstance(group, dict) for group in values.values()):
            return cls(name, {str(label): group for label, group in values.items()})
        if not isinstance(values, list) or not values:
            raise ConfigError(
                f"the axis {name} needs a list of values, or names with settings each",
                where="axes",
                hint=f"--axis {name}=a,b, or in the file {name}: [a, b]",
            )
        labels = [str(value) for value in values]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise ConfigError(
                f"the axis {name} has {', '.join(sorted(twice))} twice", where="axes", hint="name it once"
            )
        return cls(name, {label: {key_of(name): value} for label, value in zip(labels, values, strict=True)})

    @classmethod
    def parse(cls, word: str) -> Axis:
        """An axis from `K=a,b,c`; commas inside brackets belong to a value."""
        name, equals, text = word.partition("=")
        if not equals or not text:
            raise ConfigError(f"{word!r} is not an axis", where="--axis", hint="as in --axis solver=hungarian,sinkhorn")
        return cls.of(name, [settings.split_word(f"{key_of(name)}={part}")[1] for part in split_values(text)])


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        point: axis -> label.
        config: all settings, the seed too; None where they do not fit together.
        skipped: why the run is left out, or "".
    """

    point: Point
    seed: int
    config: Config | None
    skipped: str = ""

    @cached_property
    def key(self) -> str:
        """Names the run: equal settings, equal key, whatever the grid and the run are called."""
        return "" if self.config is None else key_of_settings(self.config)


@dataclass(frozen=True)
class Grid:
    """The plan of an ablation; see the module's docstring for the file.

    Attributes:
        name: of the sweep.
        base: preset, file or run that every run starts from.
        overrides: `key=value` words for all runs.
        axes: dimensions, the first one varying slowest.
        exclude: points, or parts of points, that are left out.
        reference: labels of the points that others are compared with; on an axis that it leaves open, like is
            compared with like. Empty: the first point of all.
        seeds: seeds of every point, from 0 on.
        split: whose answers are compared; the runs answer no other, unless `eval.splits` is set.
    """

    name: str
    base: str
    overrides: tuple[str, ...]
    axes: tuple[Axis, ...]
    exclude: tuple[Point, ...]
    reference: Point
    seeds: int
    split: str = "test"

    def points(self) -> list[Point]:
        """All points that are not excluded, in order."""
        names = [axis.name for axis in self.axes]
        product = (
            dict(zip(names, labels, strict=True)) for labels in itertools.product(*(a.values for a in self.axes))
        )
        return [point for point in product if not any(within(point, part) for part in self.exclude)]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every run, seed by seed, so that a sweep that is cut short has seen all points."""
        configs = [(point, *self._config(point)) for point in self.points()]
        return tuple(
            Cell(point, seed, config and config.model_copy(update={"seed": seed}), skipped)
            for seed in range(self.seeds)
            for point, config, skipped in configs
        )

    @property
    def lacks_control(self) -> bool:
        """Whether points with alignment are compared with points without, and none reads the same captions."""
        keys = [group for axis in self.axes for group in axis.values.values()]
        without = any(group.get("align.weight") == 0 for group in keys)
        captions = any("train.caption_weight" in group for group in keys)
        return without and not captions and not any(word.startswith("train.caption_weight=") for word in self.overrides)

    def reference_of(self, point: Point) -> Point:
        """The reference that a point is compared with."""
        return {**point, **(self.reference or {axis.name: next(iter(axis.values)) for axis in self.axes})}

    def against(self, reference: Mapping[str, str]) -> Grid:
        """The same runs, compared with another point."""
        return _checked(replace(self, reference=_labels(reference)))

    def to_dict(self) -> dict[str, Any]:
        """As a grid file has it."""
        return {
            "name": self.name,
            "base": self.base,
            "settings": dict(word.split("=", 1) for word in self.overrides),
            "axes": {axis.name: {label: dict(group) for label, group in axis.values.items()} for axis in self.axes},
            "exclude": [dict(point) for point in self.exclude],
            "reference": dict(self.reference),
            "seeds": self.seeds,
            "split": self.split,
        }

    def _config(self, point: Point) -> tuple[Config | None, str]:
        """The settings of a point, or None and why they do not fit together."""
        groups = [axis.values[point[axis.name]] for axis in self.axes]
        flags = {key: value for group in groups for key, value in group.items()}
        words = [word for word in self.overrides if word.partition("=")[0] not in flags]
        if not any(word.startswith("eval.splits=") for word in words):
            flags.setdefault("eval.splits", [self.split])
        config = settings.load_config(self.base, words, flags)
        try:
            check_config(config)
        except ConfigError as error:
            return None, error.message
        return config, ""


def load_grid(
    source: str | None,
    overrides: Sequence[str] = (),
    axes: Sequence[str] = (),
    seeds: int | None = None,
    reference: Sequence[str] = (),
    split: str | None = None,
) -> Grid:
    """A grid from a shipped or own file, and from what the command line adds; without a file, solver x estimator.

    Args:
        source: name of a shipped grid, or a file; None for the default one.
        overrides: `key=value` words for all runs; they win over the file's settings.
        axes: `K=a,b,c` words; each replaces the axis of that name, or is a further one.
        seeds: how many seeds, instead of the file's.
        reference: `K=V` words that name the reference, instead of the file's.
        split: whose answers are compared, instead of the file's.

    Raises:
        ConfigError: no such grid, a key that does not exist, an axis without values, a reference that is not there.
    """
    tree = read_grid(source or "solver-x-estimator")
    if axes and not source:
        tree = {"name": "ablation", "axes": {}}
    kept = {word.partition("=")[0] for word in overrides}
    own = {key: value for key, value in tree.get("settings", {}).items() if key not in kept}
    given = {"seeds": seeds, "split": split, "reference": named(reference) or None}
    tree = {**tree, "settings": own, **{key: value for key, value in given.items() if value is not None}}
    return from_tree(tree, overrides, [Axis.parse(word) for word in axes])


def from_tree(tree: Mapping[str, Any], overrides: Sequence[str] = (), axes: Sequence[Axis] = ()) -> Grid:
    """A grid from the keys of a file; of `axes`, each replaces the file's of the same name or is added.

    Raises:
        ConfigError: a value that does not fit its key.
    """
    _refuse_twice([axis.name for axis in axes])
    found = {name: Axis.of(name, values) for name, values in tree["axes"].items()} | {a.name: a for a in axes}
    _refuse_shared(list(found.values()))
    words = [f"{key}={_plain(value)}" for key, value in tree.get("settings", {}).items()]
    grid = Grid(
        name=str(tree.get("name", "ablation")),
        base=str(tree.get("base", "demo")),
        overrides=(*words, *overrides),
        axes=tuple(found.values()),
        exclude=tuple(_labels(part) for part in tree.get("exclude", ())),
        reference=_labels(tree.get("reference", {})),
        seeds=int(tree.get("seeds", 1)),
        split=str(tree.get("split", "test")),
    )
    return _checked(grid)


def shipped() -> dict[str, Path]:
    """The grids that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def read_grid(source: str) -> dict[str, Any]:
    """The keys of a grid file."""
    path = shipped().get(source) or Path(source)
    if not path.is_file():
        hint = did_you_mean(source, shipped(), f"shipped grids: {', '.join(shipped())}")
        raise ConfigError(f"{source} is neither a shipped grid nor a file", where="GRID", hint=hint)
    tree = settings.read_config(path)
    wrong = [key for key in tree if key not in KEYS]
    if wrong or not isinstance(tree.get("axes"), dict) or not isinstance(tree.get("settings", {}), dict):
        say = f"knows no key {wrong[0]!r}" if wrong else "needs `axes`, and `settings` as keys with values"
        raise ConfigError(f"the grid {say}", where=str(path), hint=f"its keys are {', '.join(sorted(KEYS))}")
    return {"name": path.stem, **tree}


def split_values(text: str) -> list[str]:
    """The values between commas outside brackets.

    Example:
        >>> split_values("imle(lam=1, samples=2),blackbox")
        ['imle(lam=1, samples=2)', 'blackbox']
    """
    depth, parts = 0, [""]
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def key_of(axis: str) -> str:
    """Return the setting that an axis is named after.

    Example:
        >>> key_of("solver"), key_of("estimator.samples"), key_of("train.lr")
        ('align.solver', 'align.estimator.samples', 'train.lr')
    """
    first, dot, rest = axis.partition(".")
    return SHORT.get(first, first) + dot + rest


def within(point: Point, part: Point) -> bool:
    """Whether a point has all the labels of `part`."""
    return all(point.get(axis) == label for axis, label in part.items())


def point_in_words(point: Point) -> str:
    """The labels of a point; those that say nothing alone, as numbers, with their axis.

    Example:
        >>> point_in_words({"solver": "lap", "weight": "3"})
        'lap · weight = 3'
    """
    return " · ".join(f"{axis} = {label}" if BARE.fullmatch(label) else label for axis, label in point.items())


def _checked(grid: Grid) -> Grid:
    """Refuse a grid whose exclusions or reference name nothing, or that has no point or no seed."""
    values = {axis.name: axis.values for axis in grid.axes}
    for part in (*grid.exclude, grid.reference):
        for axis, label in part.items():
            if label not in values.get(axis, {}):
                known = (
                    f"{axis} has {', '.join(values[axis])}" if axis in values else f"the axes are {', '.join(values)}"
                )
                raise ConfigError(f"the grid has no {axis}={label}", where="reference or exclude", hint=known)
    if grid.split not in SPLITS:
        raise ConfigError(f"no split is called {grid.split!r}", where="--split", hint=f"one of {', '.join(SPLITS)}")
    if grid.seeds < 1 or not grid.points():
        raise ConfigError("the grid has no run", where="--seeds or exclude", hint="--seeds 2")
    if not any(grid.reference_of(point) == point for point in grid.points()):
        raise ConfigError("the reference is excluded", where="--reference", hint="name another point: --reference K=V")
    return grid


def _refuse_twice(names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"the axis {twice[0]} is given twice", where="--axis", hint="give all its values at once")


def _refuse_shared(axes: Sequence[Axis]) -> None:
    """Two axes that set one key: the later would hide the earlier."""
    for first, second in itertools.combinations(axes, 2):
        shared = {key for group in first.values.values() for key in group}
        shared &= {key for group in second.values.values() for key in group}
        if shared:
            say = f"The axes {first.name} and {second.name} both set {', '.join(sorted(shared))}."
            raise ConfigError(say, where="axes", hint="give all its values to one of them")


def named(words: Sequence[str]) -> Point:
    """`K=V` words as labels by axis."""
    wrong = [word for word in words if "=" not in word]
    if wrong:
        raise ConfigError(f"{wrong[0]!r} names no point", where="--reference", hint="as in --reference solver=sinkhorn")
    return dict(word.partition("=")[::2] for word in words)


def _labels(part: Mapping[str, Any]) -> Point:
    return {str(axis): str(label) for axis, label in part.items()}


def _plain(value: Any) -> str:
    """A YAML value as the word of an override."""
    return value if isinstance(value, str) else json.dumps(value)

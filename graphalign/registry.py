"""Names to objects: the one place where `"imle(lam=10)"` becomes `IMLE(lam=10)`.

A spec is a Python call of literals. It is parsed, never evaluated, and it is what `repr` prints, so that a value from
a log can be pasted back.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeGuard

from .errors import PackageError
from .names import did_you_mean, plain

LONGEST = 10_000  # characters of a spec; the longest sensible one has a few hundred
# kind -> (module, dict of built-ins in it, entry-point group); imported when asked for
KINDS = {
    "solver": ("graphalign.solvers", "SOLVERS", "graphalign.solvers"),
    "estimator": ("graphalign.estimators", "ESTIMATORS", "graphalign.estimators"),
    "noise": ("graphalign.estimators.noise", "NOISES", "graphalign.noises"),
    "graph": ("graphalign.graphs", "GRAPHS", "graphalign.graphs"),
    "affinity": ("graphalign.affinity", "AFFINITIES", "graphalign.affinities"),
    "loss": ("graphalign.losses", "LOSSES", "graphalign.losses"),
}

# keyword -> kind of the component that it takes, wherever it occurs in a spec
ROLES = {
    "noise": "noise",
    "graph": "graph",
    "affinity": "affinity",
    "surrogate": "solver",
    "solver": "solver",
    "criterion": "loss",
}


def components(kind: str) -> dict[str, Any]:
    """Return the components of one kind by name: the built-in ones, then those of installed packages.

    A package adds a component by an entry point in the group `graphalign.<kind>s`, e.g.
    `[project.entry-points."graphalign.solvers"] auction = "their_package:Auction"`. A component that cannot be used is
    left out; `broken_components` names it and says why.

    Args:
        kind: One of solver, estimator, noise, graph, affinity, loss.

    Raises:
        ValueError: The kind is unknown.

    Example:
        >>> components("solver")["lap"]
        <class 'graphalign.solvers.lap.Lap'>
    """
    return _sorted_out(kind)[0]


def broken_components(kind: str) -> dict[str, PackageError]:
    """Return the errors of the components of one kind that cannot be used, by name.

    Either two components claim one name, or the package of a component cannot be imported. `build` raises the same
    error for such a name, and for no other.

    Args:
        kind: One of solver, estimator, noise, graph, affinity, loss.

    Raises:
        ValueError: The kind is unknown.

    Example:
        >>> broken_components("solver")
        {}
    """
    return _sorted_out(kind)[1]


def _sorted_out(kind: str) -> tuple[dict[str, Any], dict[str, PackageError]]:
    """The components of one kind that can be used, and why the others cannot."""
    usable: dict[str, Any] = {}
    broken: dict[str, PackageError] = {}
    plugins = _plugins(kind)  # a scan of all installed packages, so one for all names
    for name in dict.fromkeys([*_built_in(kind), *(plugin.name for plugin in plugins)]):
        try:
            usable[name] = _named(name, kind, plugins)
        except PackageError as error:
            broken[name] = error
    return usable, broken


def _names(kind: str) -> list[str]:
    """The names of one kind; nothing of other packages is imported."""
    return list(dict.fromkeys([*_built_in(kind), *(plugin.name for plugin in _plugins(kind))]))


def _named(name: str, kind: str, plugins: Sequence[EntryPoint]) -> Any:
    """The component of that name, None where there is none; no other package is imported than its own."""
    claims = [plugin for plugin in plugins if plain(plugin.name) == plain(name)]
    for key, component in _built_in(kind).items():
        if plain(key) == plain(name):
            if claims:
                raise _clash(kind, claims[0], f"{key!r} ({component.__module__})")
            return component
    if len(claims) > 1:
        raise _clash(kind, claims[1], f"{claims[0].name!r} of the package {_package(claims[0])}")
    return _load(claims[0]) if claims else None


def _clash(kind: str, plugin: EntryPoint, other: str) -> PackageError:
    return PackageError(
        f"the {kind} name {plugin.name!r} of the package {_package(plugin)} is already taken by {other}; rename or "
        f"uninstall one of them"
    )


def _built_in(kind: str) -> Mapping[str, Any]:
    module, attribute, _ = _kind(kind)
    found: Mapping[str, Any] = getattr(import_module(module), attribute)
    return found


def _plugins(kind: str) -> list[EntryPoint]:
    """The entry points of installed packages, in the order of their names."""
    return sorted(entry_points(group=_kind(kind)[2]), key=lambda plugin: (plugin.name, plugin.value))


def build(kind: str, spec: str) -> Any:
    """Build a component from its name, or from a call of literals; `build(kind, repr(x)) == x` for dataclasses.

    Case and underscores in names do not matter, and components may be arguments of components.

    Args:
        kind: One of solver, estimator, noise, graph, affinity, loss.
        spec: E.g. `"hungarian"` or `"imle(lam=10, noise=gumbel(0.2), samples=4)"`.

    Raises:
        ValueError: The text is not such a call, the name is unknown or of another kind, or an argument is wrong.

    Example:
        >>> build("estimator", "imle(lam=10, noise=gumbel(0.2), samples=4)")
        IMLE(lam=10, noise=Gumbel(scale=0.2), samples=4, normalize=True)
    """
    _kind(kind)
    return _evaluate(_parsed(spec), kind, spec)


def with_argument(kind: str, spec: str, name: str, value: object) -> str:
    """Return a spec with one argument set: replaced where it is given, added where it is not.

    Nothing but names and arguments is examined; whether the value fits is seen when the spec is built.

    Args:
        kind: As in `build`.
        spec: As in `build`.
        name: Of the argument; `noise.scale` is the argument `scale` of the component that is the argument `noise`.
        value: A plain value; for an argument that is a component, its spec.

    Raises:
        ValueError: As `build` does, and for an unknown argument.

    Example:
        >>> with_argument("estimator", "imle(lam=10)", "samples", 8)
        'imle(lam=10, samples=8)'
        >>> with_argument("estimator", "imle", "noise.scale", 0.5)
        'imle(noise=Gumbel(scale=0.5))'
    """
    called, args, keywords = _call(_parsed(spec), spec)
    own, _, inner = name.partition(".")
    signature = inspect.signature(_lookup(called, kind))
    try:
        given = signature.bind_partial(*args, **keywords).arguments
        signature.bind_partial(**{own: value})
    except TypeError as error:
        raise ValueError(_wrong_arguments(called, signature, {**keywords, own: value}, error)) from error
    if inner:
        part = ast.unparse(given[own]) if own in given else repr(signature.parameters[own].default)
        value = with_argument(ROLES.get(own, own), part, inner, value)
    given[own] = _parsed(value) if isinstance(value, str) and own in ROLES else ast.parse(repr(value), mode="eval").body
    return ast.unparse(ast.Call(ast.Name(called), [], [ast.keyword(key, part) for key, part in given.items()]))


def _parsed(spec: str) -> ast.Name | ast.Call:
    """The name or call that a spec is."""
    if len(str(spec)) > LONGEST:
        raise ValueError(f"a spec has at most {LONGEST:,} characters; this one has {len(str(spec)):,}")
    try:
        expression = ast.parse(spec.strip(), mode="eval").body
    except (SyntaxError, ValueError, AttributeError, RecursionError, MemoryError) as error:
        raise ValueError(_not_a_spec(spec)) from error
    if not _is_component(expression):
        raise ValueError(_not_a_spec(spec))
    return expression


def _is_component(node: ast.expr) -> TypeGuard[ast.Name | ast.Call]:
    return isinstance(node, ast.Name) or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name))


def _call(node: ast.Name | ast.Call, spec: str) -> tuple[str, list[ast.expr], dict[str, ast.expr]]:
    """The name that is called, and its arguments."""
    if isinstance(node, ast.Name):
        return node.id, [], {}
    name = ast.unparse(node.func)
    if any(isinstance(x, ast.Starred) for x in node.args) or any(k.arg is None for k in node.keywords):
        raise ValueError(_not_a_spec(spec))
    if len({k.arg for k in node.keywords}) < len(node.keywords):
        raise ValueError(f"{name} is given an argument twice in {spec!r:.200}; give it once")
    return name, node.args, {str(k.arg): k.value for k in node.keywords}


def _evaluate(node: ast.expr, kind: str | None, spec: str) -> Any:
    if _is_component(node):
        name, positional, named = _call(node, spec)
        args = tuple(_evaluate(x, None, spec) for x in positional)
        keywords = {key: _evaluate(x, ROLES.get(key), spec) for key, x in named.items()}
        return _construct(name, kind, args, keywords)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(_not_a_spec(spec)) from error


def _construct(name: str, kind: str | None, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    component = _lookup(name, kind)
    signature = inspect.signature(component)
    try:
        signature.bind(*args, **keywords)
    except TypeError as error:
        raise ValueError(_wrong_arguments(name, signature, keywords, error)) from error
    return component(*args, **keywords)


def _lookup(name: str, kind: str | None) -> Any:
    """The component called `name`; an argument of a component (kind None) may be of any kind."""
    kinds = [kind] if kind else list(KINDS)
    for one in kinds:
        if (component := _named(name, one, _plugins(one))) is not None:
            return component
    known = [key for one in kinds for key in _names(one)]
    for other in KINDS:
        if kind and plain(name) in map(plain, _names(other)):
            listed = ", ".join(sorted(known))
            raise ValueError(f"{name!r} is {_article(other)} {other}, not {_article(kind)} {kind}; known: {listed}")
    what, hint = kind or "component", did_you_mean(name, known)
    raise ValueError(f"unknown {what} {name!r}.{hint} Known: {', '.join(sorted(known))}")


def _wrong_arguments(name: str, signature: inspect.Signature, keywords: Mapping[str, Any], error: TypeError) -> str:
    accepted = list(signature.parameters)
    wrong = [key for key in keywords if key not in accepted]
    takes = f"It takes {', '.join(accepted)}." if accepted else "It takes no arguments."
    if wrong:
        return f"{name} has no argument {wrong[0]!r}.{did_you_mean(wrong[0], accepted)} {takes}"
    return f"{name}: {error}. {takes}"


def _not_a_spec(spec: str) -> str:
    keyword = " The argument is called `lam`: `lambda` is a word of Python's." if "lambda" in str(spec) else ""
    form = f"Write a name, or a call of literals such as `name(key=1, other=0.5)`.{keyword}"
    return f"Not a component: {spec!r:.200}. {form}"


def _kind(kind: str) -> tuple[str, str, str]:
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}.{did_you_mean(kind, list(KINDS))} Known: {', '.join(KINDS)}")
    return KINDS[kind]


def _load(plugin: EntryPoint) -> Any:
    what = f"{plugin.value!r} of the package {_package(plugin)}"
    hint = f"repair the package, or remove it: pip uninstall {_package(plugin)}"
    try:
        found = plugin.load()
    except Exception as error:  # whatever the code of the package raises
        raise PackageError(f"{what} cannot be imported: {type(error).__name__}: {error}", hint=hint) from error
    if not callable(found):
        raise PackageError(f"{what} is not a class or a function, but {found!r:.80}", hint=hint)
    return (
        _made_of(found)
        if inspect.isfunction(found) and list(inspect.signature(found).parameters) == ["problem"]
        else found
    )


def _made_of(solver: Callable[..., Any]) -> Callable[[], Any]:
    """What builds a solver that is a plain function of a problem, and so has no settings."""

    def build_it() -> Any:
        return solver

    build_it.__name__, build_it.__doc__, build_it.__module__ = solver.__name__, solver.__doc__, solver.__module__
    return build_it


def _package(plugin: EntryPoint) -> str:
    return plugin.dist.name if plugin.dist is not None else plugin.value.partition(":")[0]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"

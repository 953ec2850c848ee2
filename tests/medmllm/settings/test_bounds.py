"""Settings, files and specs that are huge, or nested deep, are refused at once with a sentence."""

from typing import get_args

import pytest
from pydantic import BaseModel

from medmllm.errors import ConfigError
from medmllm.settings.load import load_config
from medmllm.settings.schema import Config


def bomb(levels, width=10):
    """Lists of lists by aliases: `width ** levels` values from a few lines."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels + 1)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "text",
    [bomb(9), bomb(2000), "name: " + "x" * 2**20, "[" * 10_000 + "]" * 10_000, "a: &a [*a]\n", "a: 1" + "0" * 10_000],
    ids=["bomb", "deep bomb", "long", "nested", "holds itself", "digits"],
)
def test_a_file_that_would_fill_the_memory_is_refused_at_once(tmp_path, text):
    (tmp_path / "large.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path / "large.yaml"))
    assert len(caught.value.message) < 1000


def test_aliases_are_read_as_what_they_name(tmp_path):
    (tmp_path / "alias.yaml").write_text("name: &n embedded\ndata: {source: *n}\n")
    loaded = load_config(str(tmp_path / "alias.yaml"))
    assert loaded.name == loaded.data.source == "embedded"


def whole_numbers(tree, prefix=""):
    for name, field in tree.model_fields.items():
        kinds = {field.annotation, *get_args(field.annotation)}
        if int in kinds:
            yield prefix + name
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from whole_numbers(kind, f"{prefix}{name}.")


@pytest.mark.parametrize("key", list(whole_numbers(Config)))
@pytest.mark.parametrize("value", [10**30, -(10**30)], ids=["huge", "hugely negative"])
def test_every_whole_number_has_bounds(key, value):
    with pytest.raises(ConfigError, match=f"{key} +must be (at|less)"):
        load_config("demo", [f"{key}={value}"])


@pytest.mark.parametrize(
    "spec",
    [
        "imle(samples=1000000000000000000000000000000)",
        "sinkhorn(max_iter=1000000000000000000000000000000)",
        "a(" * 90 + ")" * 90,
        "a(" * 4000 + ")" * 4000,
        "sinkhorn(tau=" + "-" * 9000 + "1)",
        "sinkhorn(tau=" + "[" * 4000 + "]" * 4000 + ")",
        "sinkhorn(tau=9**9**9**9)",
        "x" * 10**6,
        "sinkhorn(tau=1" + "0" * 9000 + ")",
    ],
    ids=lambda spec: spec[:24],
)
def test_specs_that_are_huge_or_nested_deep_are_refused_at_once(spec):
    with pytest.raises(ConfigError) as caught:
        load_config("demo", flags={"align.solver": spec} if "imle" not in spec else {"align.estimator": spec})
    assert len(caught.value.message) < 1000

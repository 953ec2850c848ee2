"""Configuration loading: every problem at once, and text that comes back as it was."""

import pytest

from medmllm.errors import ConfigError
from medmllm.settings.load import InvalidConfig, differences, dump, load_config, presets
from medmllm.settings.schema import Config
from medmllm.settings.yaml_text import parse_yaml, write_yaml


def problems(*overrides, **flags):
    with pytest.raises(InvalidConfig) as caught:
        load_config("demo", overrides, flags)
    return dict(caught.value.problems)


@pytest.mark.parametrize("preset", presets())
def test_every_preset_is_valid_and_comes_back_from_its_text(preset, tmp_path):
    config = load_config(preset)
    path = tmp_path / "config.yaml"
    path.write_text(dump(config))
    assert load_config(str(path)) == config
    assert load_config(str(tmp_path)) == config  # a run's folder


def test_overrides_reach_every_depth():
    config = load_config(
        "demo", ["train.lr=1e-3", "train.stages.0.lr=2e-4", "align.solver=sinkhorn(tau=0.2)", "name=007"]
    )
    assert config.train.lr == 1e-3
    assert config.train.stages[0].lr == 2e-4
    assert config.align.solver == "sinkhorn(tau=0.2)"
    assert config.name == "007"


def test_settings_of_parts_have_keys():
    words = ["align.estimator.noise.scale=0.1", "align.estimator.samples=8", "align.solver.tau=0.2", "align.graph.k=3"]
    align = load_config("demo", [*words, "align.estimator.noise=normal"], {"align.solver": "sinkhorn"}).align
    assert align.solver == "sinkhorn(tau=0.2)"
    assert align.estimator == "imle(lam=1.0, noise=normal(scale=0.1), samples=8)"
    assert align.graph == "knn(k=3)"
    assert load_config("demo", ["align.loss=infonce", "align.loss.temperature=0.2"]).align.loss == (
        "infonce(temperature=0.2)"
    )
    criterion = load_config("demo", ["align.criterion.samples=2", "align.criterion=fenchel_young"]).align.criterion
    assert criterion == "fenchel_young(samples=2)"
    assert load_config("demo", ["align.estimator.samples=4"]) == load_config("demo")


def test_a_file_has_settings_of_parts_too(tmp_path):
    (tmp_path / "base.yaml").write_text("align: {solver: sinkhorn, estimator: 'imle(lam=2)', graph: {k: 3}}")
    (tmp_path / "own.yaml").write_text(
        "extends: base.yaml\nalign: {solver: {tau: 0.2}, estimator: {samples: 8, noise: {scale: 0.1}}}"
    )
    align = load_config(str(tmp_path / "own.yaml"), ["align.estimator.lam=3"]).align
    assert (align.solver, align.graph) == ("sinkhorn(tau=0.2)", "knn(k=3)")
    assert align.estimator == "imle(lam=3, noise=Gumbel(scale=0.1), samples=8)"
    (tmp_path / "wrong.yaml").write_text("align: {estimator: {sampels: 8, noise: {sigma: 1}}}")
    with pytest.raises(InvalidConfig) as caught:
        load_config(str(tmp_path / "wrong.yaml"))
    assert [problem.key for problem in caught.value.problems] == [
        "align.estimator.sampels", "align.estimator.noise.sigma",
    ]  # fmt: skip


def test_flags_fold_into_keys_and_none_is_not_given():
    config = load_config("demo", [], {"align.solver": "lap", "seed": 7, "align.estimator": None})
    assert (config.align.solver, config.seed) == ("lap", 7)
    assert config.align.estimator == load_config("demo").align.estimator


def test_all_problems_come_at_once():
    with pytest.raises(InvalidConfig) as caught:
        load_config("demo", ["solver.esp=1", "trian.steps=4", "train.lr=-1"])
    lines = caught.value.message.splitlines()
    assert lines[0] == "the configuration has 3 problems"
    assert "  train.lr  must be greater than 0 (got -1)" in lines
    assert "  trian     unknown section; did you mean train?" in lines


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        ("train.stpes=3", "train.stpes", "unknown key; did you mean train.steps?"),
        ("lr=3", "lr", "unknown key; did you mean train.lr?"),
        ("solver=lap", "solver", "unknown key; did you mean align.solver?"),
        (
            "align.estimator.sampels=3",
            "align.estimator.sampels",
            "imle has no argument 'sampels'. Did you mean 'samples'? It takes lam, noise, samples, normalize.",
        ),
        ("align.criterion.samples=3", "align.criterion.samples", "hamming takes no settings"),
        (
            "align.estimator.samples=many",
            "align.estimator",
            "IMLE: samples must be a whole number of at least 1, not 'many'",
        ),
        ("train=3", "train", "is a section, not a value (got 3); set its keys, as in train.steps=..."),
        ("train.lr=", "train.lr", "must not be null"),
        ("train.lr", "train.lr", "is not KEY=VALUE, as in train.lr=1e-3"),
        ("=3", "=3", "is not KEY=VALUE, as in train.lr=1e-3"),
        ("train.lr=[1", "train.lr", "has a value that is not YAML: [1"),
        ("train.steps=2.5", "train.steps", "must be a whole number (got 2.5)"),
        ("train.steps=abc", "train.steps", "must be a whole number (got 'abc')"),
        ("seed=true", "seed", "must be a whole number (got True)"),
        ("seed=010", "seed", "must be a whole number (got '010')"),
        ("align.weight=.inf", "align.weight", "must be a finite number (got inf)"),
        ("train.gradient_checkpointing=yes", "train.gradient_checkpointing", "must be true or false (got 'yes')"),
        ("train.stages=[]", "train.stages", "must have at least 1 entry (got [])"),
        ("train.stages.5.lr=3", "train.stages.5.lr", "names nothing: train.stages.5 has no entry lr"),
        ("train.stages.0.nam=x", "train.stages.0.nam", "unknown key; did you mean train.stages.0.name?"),
        ("train.lr.x=3", "train.lr.x", "names nothing: train.lr has no entry x"),
        (
            "train.stages=[3]",
            "train.stages.0",
            "is a section, not a value (got 3); set its keys, as in train.stages.0.name=...",
        ),
        ("train.stages.²=1", "train.stages.²", "names nothing: train.stages has no entry ²"),
        ("seed=[[a]: 1]", "seed", "has a value that is not YAML: [[a]: 1]"),
        ("seed={{}: 1}", "seed", "has a value that is not YAML: {{}: 1}"),
        ("seed=!!binary aGk=", "seed", "has a value that is not YAML: !!binary aGk="),
        ("seed=!!set {a}", "seed", "has a value that is not YAML: !!set {a}"),
        ("seed=!!timestamp 2020-01-01", "seed", "has a value that is not YAML: !!timestamp 2020-01-01"),
        ("seed=!!int abc", "seed", "has a value that is not YAML: !!int abc"),
        ("seed=!!bool abc", "seed", "has a value that is not YAML: !!bool abc"),
        ("seed=&a [*a]", "seed", "has a value that is not YAML: &a [*a]"),
        ("train=&a {b: *a}", "train", "has a value that is not YAML: &a {b: *a}"),
        ("seed=" + "[" * 3000, "seed", "has a value that is not YAML: " + "[" * 3000),
        ("a." * 3000 + "a=1", "config", "is nested too deeply"),
        ("data.source=\ud800", "data.source", "holds half of a character (got '\\ud800')"),
        ("data.fraction=1.5", "data.fraction", "must be at most 1 (got 1.5)"),
        (
            "align.barycenter=mena",
            "align.barycenter",
            "must be one of mean, leave_one_out, pairwise (got 'mena'); did you mean mean?",
        ),
    ],
)
def test_a_wrong_override_is_told_in_words(override, key, message):
    assert problems(override) == {key: message}


@pytest.mark.parametrize(
    ("key", "spec", "near"),
    [
        ("align.solver", "hungarain", "Did you mean 'hungarian'?"),
        ("align.estimator", "imle(lamb=1)", "Did you mean 'lam'?"),
        ("align.graph", "knn(k=0)", "k"),
        ("align.affinity", "__import__('os')", "unknown affinity"),
    ],
)
def test_a_component_that_cannot_be_built_is_a_problem(key, spec, near):
    found = problems(f"{key}={spec}")
    assert list(found) == [key]
    assert near in found[key]


def test_an_unknown_section_set_to_a_value_is_unknown():
    assert problems("foo.bar=1", "foo=2") == {"foo": "unknown key"}


def test_a_short_list_is_told_beside_other_problems():
    assert list(problems("train.stages=[]", "train.lr=-1")) == ["train.lr", "train.stages"]


def test_a_key_given_twice_is_a_problem():
    assert problems("seed=1", "seed=1") == {"seed": "is given twice"}
    assert problems("align.solver=lap", **{"align.solver": "lap"}) == {"align.solver": "is given twice"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2", "the key 'seed' is given twice"),
        ("- 1", "the file must hold keys and values"),
        ("a: [", "the file cannot be read"),
        ("\x00", "the file cannot be read"),
        ("[" * 5000, "the file cannot be read: nested too deeply"),
        ("? [a]\n: 1", "the file cannot be read: a key must be one word"),
        ("a: &a [*a]", "the file cannot be read: found unconstructable recursive node"),
        ("a: !!set {b}", "the file cannot be read: could not determine a constructor"),
        ("!!map [a]", "the file cannot be read: "),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(str(path))
    assert str(path) in caught.value.where


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(str(tmp_path / "c.yaml"))


def test_an_empty_file_holds_the_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("# nothing\n")
    assert load_config(str(tmp_path / "c.yaml")) == Config()


def test_a_missing_file_has_a_hint():
    with pytest.raises(ConfigError) as caught:
        load_config("dmeo")
    assert caught.value.hint == "did you mean demo?"


def test_a_name_too_long_for_a_file_is_no_preset():
    with pytest.raises(ConfigError, match="File name too long"):
        load_config("x" * 5000)


def test_aliases_are_read():
    assert parse_yaml("a: &a [1]\nb: *a") == {"a": [1], "b": [1]}


def test_differences_names_the_keys():
    assert differences(load_config("demo"), load_config("demo")) == []
    assert differences(load_config("demo", ["seed=2", "train.stages.1.lr=1e-4"]), load_config("demo")) == [
        "seed",
        "train.stages.1.lr",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1.", 1.0), (".5", 0.5), ("-2", -2), ("no", "no"), ("010", "010"), ("1:30", "1:30"), ("~", None),
     ("", None), ("2026-11-23", "2026-11-23"), ("true", True), ("-.inf", float("-inf")), ("1_000", 1000)],
)  # fmt: skip
def test_scalars_are_read_as_people_expect(text, value):
    read = parse_yaml(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "value", ["1e-3", "true", "null", "", "~", "12", ".5", "no", "a: b", "é", "x" * 200, 1e-5, 3.0, None]
)
def test_what_is_written_is_read_back(value):
    again = parse_yaml(write_yaml({"key": value}))["key"]
    assert again == value
    assert type(again) is type(value)


def test_a_file_extends_a_preset_or_a_file_beside_it(tmp_path):
    (tmp_path / "one.yaml").write_text("extends: demo\nseed: 4\ntrain: {lr: 1.0}\n")
    (tmp_path / "two.yaml").write_text("extends: one.yaml\ntrain: {steps: 7}\n")
    config = load_config(str(tmp_path / "two.yaml"))
    assert (config.seed, config.train.lr, config.train.steps) == (4, 1.0, 7)
    assert config.align == load_config("demo").align


def test_what_extends_itself_or_nothing_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(ConfigError, match="extends itself"):
        load_config(str(tmp_path / "a.yaml"))
    (tmp_path / "c.yaml").write_text("extends: nowhere\n")
    with pytest.raises(ConfigError, match="neither a preset nor a file"):
        load_config(str(tmp_path / "c.yaml"))

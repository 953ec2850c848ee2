"""The commands that look something up: parts, configurations, data, the machine."""

import json
import sys

import pytest

from graphalign import build, components

KINDS = {
    "solver": "solvers",
    "estimator": "estimators",
    "noise": "noises",
    "graph": "graphs",
    "affinity": "affinities",
    "loss": "losses",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_is_listed_with_a_spec_that_builds(exgra, kind):
    listed = exgra(KINDS[kind], "--json").json
    assert [part["name"] for part in listed] == sorted(components(kind))
    for part in listed:
        assert repr(build(kind, part["spec"])) == repr(build(kind, part["name"]))
        assert len(part["summary"]) > 12


ALGORITHMS = {
    "solvers": {
        "auction": "auction", "faq": "quadratic programming", "fgw": "Gromov-Wasserstein", "greedy": "Greedy",
        "brute_force": "enumeration", "hungarian": "Hungarian", "ipfp": "fixed point", "lap": "Jonker-Volgenant",
        "pygm_sinkhorn": "Sinkhorn", "rrwm": "random walk", "sinkhorn": "Sinkhorn", "sm": "Spectral",
    },
    "estimators": {"imle": "maximum likelihood", "aimle": "Adaptive", "implicit": "Implicit", "unrolled": "Unroll",
                   "straight_through": "Straight", "blackbox": "interpolation", "perturbed": "Monte Carlo"},
    "graphs": {"knn": "nearest", "threshold": "near enough", "complete": "every other"},
    "losses": {"infonce": "InfoNCE", "siglip": "SigLIP", "plot": "PLOT", "vlap": "VLAP", "spo_plus": "SPO+",
               "fenchel_young": "Fenchel-Young", "alignment": "graph matching"},
}  # fmt: skip


@pytest.mark.parametrize("command", ALGORITHMS)
def test_every_line_of_a_list_names_its_algorithm(exgra, command):
    told = {part["name"]: part["summary"] for part in exgra(command, "--json").json}
    assert {name: told[name] for name, word in ALGORITHMS[command].items() if word not in told[name]} == {}
    assert len(set(told.values())) == len(told)


def test_one_component_is_told_in_full(exgra):
    result = exgra("solvers", "Sinkhorn")
    assert result.code == 0
    assert result.out.startswith("sinkhorn(tau=")
    assert "Cost:" in result.out


def test_a_broken_package_is_listed_as_broken_and_stops_no_other_solver(exgra, tmp_path, monkeypatch):
    (tmp_path / "half_made.py").write_text("import nowhere_to_be_found\n")
    info = tmp_path / "half_made-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: half_made\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[graphalign.solvers]\nhalf = half_made:Half\n")
    monkeypatch.syspath_prepend(tmp_path)
    listed = {part["name"]: part["summary"] for part in exgra("solvers", "--json").json}
    assert listed["half"].startswith("broken: 'half_made:Half' of the package half_made cannot be imported: Module")
    assert exgra("solvers", "lap").out.startswith("lap(")
    failed = exgra("solvers", "half")
    assert failed.code == 2
    assert "pip uninstall half_made" in failed.err


@pytest.mark.parametrize("name", ["hungarain", "sinkhorn(tau=1)", "imle"])
def test_an_unknown_component_is_wrong_usage(exgra, name):
    assert exgra("solvers", name).code == 2


def test_the_hint_names_the_command_that_lists(exgra):
    assert "exgra affinities" in exgra("affinities", "cosin").err
    assert "exgra losses" in exgra("losses", "knn").err


def test_models_are_listed_by_what_takes_them_and_who_uses_them(exgra):
    from medmllm.model.known import KNOWN
    from medmllm.settings.load import presets

    told = exgra("models", "--json").json
    known = {model["name"]: model for model in told["known"]}
    assert list(known) == list(KNOWN)
    assert known["smollm2"]["presets"] == ["smollm2"]
    assert known["smollm2"]["parameters"] == 134_515_008
    assert known["huggyllama/llama-7b"]["parameters"] == 6_738_415_616
    assert known["openai/clip-vit-large-patch14"]["key"] == "model.vision.pretrained"
    assert "stage2-7b" in known["openai/clip-vit-large-patch14"]["presets"]
    assert {preset for model in known.values() for preset in model["presets"]} <= set(presets())
    assert {row["key"] for row in told["families"]} == {model["key"] for model in known.values()}


def test_the_table_of_models_fits_and_one_is_told_in_full(exgra):
    shown = exgra("models").out
    assert max(map(len, shown.splitlines())) <= 80
    assert "qwen3" in shown
    one = exgra("models", "smollm2")
    assert one.out.startswith("model.language.pretrained=smollm2\n")
    assert "134,515,008" in one.out
    assert exgra("models", "smollm2", "--json").json["sizes"]["layers"] == 30
    wrong = exgra("models", "huggyllama/llama-9b")
    assert wrong.code == 2
    assert "exgra models huggyllama/llama-7b" in wrong.err


def test_a_copied_preset_is_the_preset(exgra, tmp_path):
    from medmllm.settings.load import load_config

    assert "demo" in [preset["name"] for preset in exgra("config", "list", "--json").json]
    assert exgra("config", "cp", "demo", "mine.yaml").code == 0
    assert load_config(str(tmp_path / "mine.yaml")) == load_config("demo")
    assert exgra("config", "cp", "demo", "mine.yaml").code == 2
    assert exgra("config", "cp", "demo", "no/folder.yaml").code == 2


def test_show_prints_every_setting(exgra):
    shown = exgra("config", "show", "seed=5")
    assert "seed: 5\n" in shown.out
    assert exgra("config", "show", "demo", "--json").json["align"]["solver"] == "hungarian"


def test_validate_lists_every_problem(exgra):
    assert exgra("config", "validate").code == 0
    result = exgra("config", "validate", "train.lr=-1", "sede=2", "--json")
    assert result.code == 2
    assert [problem["key"] for problem in result.json["problems"]] == ["train.lr", "sede"]
    assert exgra("config", "validate", "--json").json == {"valid": True, "problems": []}
    assert exgra("config", "validate", "--estimator").code == 2


def test_the_schema_describes_every_section(exgra):
    assert {"data", "model", "align", "train", "eval"} <= set(exgra("config", "schema").json["properties"])


def test_data_describe_counts_rows(exgra, tiny):
    data = tiny.parent / "data.json"
    splits = exgra("data", "describe", data, "--json").json["splits"]
    assert splits["train"]["rows"] + splits["test"]["rows"] == 20
    assert "question kind" in exgra("data", "describe", data).out


def test_data_validate_ends_with_3_and_names_the_row(exgra, tiny, tmp_path):
    rows = json.loads((tiny.parent / "data.json").read_text())
    assert exgra("data", "validate", tiny.parent / "data.json").code == 0
    rows[4]["image"] = "missing.png"
    (tiny.parent / "bad.json").write_text(json.dumps(rows))
    result = exgra("data", "validate", tiny.parent / "bad.json")
    assert result.code == 3
    assert "row 5" in result.out
    assert "missing.png" in result.out
    assert len(exgra("data", "validate", tiny.parent / "bad.json", "--json").json["problems"]) == 1


def test_half_of_a_character_is_reported_and_printed(exgra, tmp_path):
    (tmp_path / "half.json").write_text(
        '[{"id": "\\ud800"}, {"id": "1", "image": "a.png", "conversations": "\\ud800"}]'
    )
    assert exgra("data", "validate", "half.json").code == 3
    assert "half of a character" in exgra("data", "validate", "half.json", "--json").json["problems"][0]["message"]


def test_the_doctor_looks_at_everything_and_its_exit_code_agrees(exgra):
    result = exgra("doctor", "--json")
    checks = {check["check"]: check for check in result.json}
    assert {"python", "torch", "device", "torchvision", "lapx", "this folder", "embedded data"} <= set(checks)
    assert {"pydicom", "nibabel", "POT", "pyarrow", "h5py"} <= set(checks)
    failed = [check for check in checks.values() if check["status"] == "FAIL"]
    assert result.code == (1 if failed else 0)
    assert all(check["fix"] for check in failed)


@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        ("", "ok", "0.1 to 0.4 % of the pixels differ by one grey level"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "FAIL", "cannot open processors"),
    ],
)
def test_the_doctor_says_what_a_torchvision_changes(tmp_path, monkeypatch, lines, status, words):
    """The second is what PyPI's torchvision 0.28.0 raises beside torch 2.13.0+cpu."""
    from exgra.commands.doctor import torchvision

    for name in ("torchvision", "torchvision.ops"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(lines)
    (tmp_path / "torchvision" / "ops.py").touch()
    (tmp_path / "torchvision-0.28.0.dist-info").mkdir()
    (tmp_path / "torchvision-0.28.0.dist-info" / "METADATA").write_text("Name: torchvision\nVersion: 0.28.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    check = torchvision()
    for name in ("torchvision", "torchvision.ops"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert (check.status, bool(check.fix)) == (status, status == "FAIL")
    assert "0.28.0" in check.found
    assert words in check.found


@pytest.mark.parametrize(
    ("hidden", "code", "status"),
    [(["gradio"], 0, "optional"), (["gradio", "matplotlib"], 0, "optional"), (["peft"], 1, "FAIL")],
)
def test_the_doctor_fails_for_what_training_lacks_and_for_no_other_extra(exgra, monkeypatch, hidden, code, status):
    installed_without(monkeypatch, *hidden)
    checks = {check["check"]: check for check in exgra("doctor", "--json").json}
    assert {checks[name]["status"] for name in hidden} == {status}
    assert all("-e '.[" in checks[name]["fix"] for name in hidden)
    others = [check for name, check in checks.items() if check["status"] == "FAIL" and name not in hidden]
    assert others or exgra("doctor").code == code


def test_without_the_trainer_the_doctor_misses_nothing(exgra, monkeypatch):
    installed_without(monkeypatch, "transformers", "peft", "accelerate", "gradio")
    checks = {check["check"]: check for check in exgra("doctor", "--json").json}
    assert {checks[name]["status"] for name in ("transformers", "peft", "embedded data")} == {"optional"}
    assert "to get it" in exgra("doctor").out


def installed_without(monkeypatch, *names):
    """As if some distributions were not installed."""
    from importlib.metadata import PackageNotFoundError, version

    def known(name):
        if name in names:
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("graphalign.extras.version", known)


@pytest.mark.parametrize(("found", "status"), [("2.10.1+cpu", "FAIL"), ("2.11.0", "ok"), ("3.0.0a0+git1", "ok")])
def test_the_doctor_finds_a_torch_too_old_to_train(found, status):
    from exgra.commands import doctor

    check = doctor.torch_release(found)
    assert check.status == status
    assert ("torch>=2.11" in check.fix) == (status == "FAIL")


def test_the_doctor_finds_the_wrong_lap(monkeypatch):
    from exgra.commands import doctor

    class Installed:
        version = "0.5"

    monkeypatch.setattr(doctor, "distribution", lambda name: Installed)
    check = doctor.assignment()
    assert check.status == "FAIL"
    assert "pip uninstall -y lap" in check.fix

"""`exgra eval` on answers that are there already: one document, and ids that do not fit."""

import json

import pytest

KEYS = {"open_recall", "closed_accuracy", "average", "f1", "exact_match", "n_open", "n_closed"}


@pytest.fixture
def files(tmp_path):
    answers = [("left lung", "OPEN"), ("liver", "OPEN"), ("no", "CLOSED"), ("yes", "CLOSED")]
    turns = [[{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": a}] for a, _ in answers]
    rows = [
        {"id": i, "image": f"{i}.png", "answer_type": kind, "conversations": turns[i]}
        for i, (_, kind) in enumerate(answers)
    ]
    said = [{"question_id": str(i), "text": text} for i, text in enumerate(["left lung", "spleen", "normal", "yes"])]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    (tmp_path / "q.csv").write_text("id,prediction\n0,left\n1,liver\n2,no\n")
    return ("--references", tmp_path / "r.json", "--predictions", tmp_path / "p.jsonl")


def test_one_document_with_both_columns(exgra, files):
    result = exgra("eval", *files, "--json")
    assert result.code == 0
    assert set(result.json["published"]) >= KEYS
    assert set(result.json["strict"]) >= KEYS
    assert result.json["published"]["closed_accuracy"] == 100.0
    assert result.json["strict"]["closed_accuracy"] == 50.0
    assert result.json["published"]["average"] == 75.0
    assert set(result.json["intervals"]["strict"]) >= {"open_recall", "closed_accuracy", "average"}


def test_the_table_fits_a_screen(exgra, files):
    result = exgra("eval", *files, "--baseline", files[-1])
    assert result.code == 0
    assert "accuracy, closed" in result.out
    assert "equal scores" in result.out
    assert "[+0.0" not in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_a_role_word_before_every_answer_is_reported_and_removed_where_asked(exgra, files, tmp_path):
    lines = [json.loads(line) for line in files[-1].read_text().splitlines()]
    spoken = [{**line, "text": f"Assistant: {line['text']}"} for line in lines]
    (tmp_path / "spoken.jsonl").write_text("".join(json.dumps(line) + "\n" for line in spoken))
    words = (*files[:-1], tmp_path / "spoken.jsonl", "--json")
    kept, removed = exgra("eval", *words), exgra("eval", *words, "--strip-role", "Assistant")
    assert "every answer begins with 'Assistant:'; --strip-role Assistant" in kept.err
    assert kept.json["strict"]["exact_match_all"] == 0
    assert removed.err == ""
    assert removed.json == exgra("eval", *files, "--json").json
    assert "no answer begins with 'GPT:'" in exgra("eval", *words, "--strip-role", "GPT:").err


def test_a_baseline_is_compared(exgra, files, tmp_path):
    result = exgra("eval", *files, "--baseline", tmp_path / "q.csv", "--missing", "wrong", "--json")
    assert result.json["comparison"]["strict"]["closed_accuracy"]["difference"] == 0.0
    assert result.json["comparison"]["strict"]["average"]["examples"] == 4


def test_ids_that_do_not_fit_are_named(exgra, files, tmp_path):
    result = exgra("eval", *files[:2], "--predictions", tmp_path / "q.csv", "--json")
    assert result.code == 3
    assert result.json["ids"] == {"not answered": ["3"]}
    assert "not answered: 3" in result.err
    assert exgra("eval", *files[:2], "--predictions", tmp_path / "q.csv", "--missing", "wrong", "--json").code == 0


@pytest.mark.parametrize(
    "words", [["--references", "r.json"], ["--predictions", "p.jsonl"], ["run", "--predictions", "p"]]
)
def test_half_of_what_is_needed_is_wrong_usage(exgra, words):
    result = exgra("eval", *words)
    assert result.code == 2
    assert "--references" in result.err


@pytest.mark.parametrize(
    "words",
    [
        ("--task", "reliance"),
        ("--out", "scores"),
        ("--limit", "2"),
        ("--data", "slake"),
        ("--window", "lung"),
        ("--allow-outside",),
    ],
)
def test_an_option_of_a_model_beside_files_is_refused(exgra, files, words):
    result = exgra("eval", *files, *words)
    assert result.code == 2
    assert f"{' '.join(words) if words[0] == '--task' else words[0]} has no effect on answers in files" in result.err


def test_the_permission_to_leave_a_folder_needs_data(exgra):
    result = exgra("eval", "runs/mine", "--allow-outside")
    assert result.code == 2
    assert "--allow-outside has no effect without --data" in result.err


def test_a_file_that_is_not_there(exgra):
    assert exgra("eval", "--references", "r.json", "--predictions", "p.jsonl").code == 3


def test_several_systems_make_a_table_with_tests_against_the_first(exgra, tmp_path):
    rows = [{"id": n, "image": f"{n}.png", "question": "Is it?", "answer": "yes" if n % 2 else "no"} for n in range(12)]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    for name, wrong in (("a", 0), ("b", 5), ("c", 9)):
        said = [{"id": row["id"], "text": "?" if row["id"] < wrong else row["answer"]} for row in rows]
        (tmp_path / f"{name}.json").write_text(json.dumps(said))
    given = [word for name in "abc" for word in ("--predictions", f"system {name}={name}.json")]
    told = exgra("eval", "--references", "r.json", *given)
    assert told.code == 0
    lines = told.out.splitlines()
    assert next(line for line in lines if line.startswith("system b ")).count("58.3 [") == 3
    assert next(line for line in lines if line.startswith("system a - system c")).count("+75.0 [") == 1
    assert set(exgra("eval", "--references", "r.json", *given, "--json").json["comparisons"]) == {
        "system b",
        "system c",
    }
    assert exgra("eval", "--references", "r.json", *given, "--baseline", "a.json").code == 2


def test_references_may_be_a_named_data_set(exgra, tmp_path):
    (tmp_path / "p.csv").write_text("id,prediction\nnobody,yes\n")
    unready = exgra("eval", "--references", "vqarad", "--predictions", tmp_path / "p.csv")
    assert unready.code == 3
    assert "did you mean vqa-rad?" in unready.err
    known = exgra("eval", "--references", "embedded", "--predictions", tmp_path / "p.csv")
    assert "not asked: nobody" in known.err


def test_the_data_is_looked_up_before_the_model(exgra):
    result = exgra("eval", "nobody/no-such-model", "--data", "pathvqa")
    assert result.code == 3
    assert "did you mean path-vqa?" in result.err

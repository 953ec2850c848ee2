"""A judge on this machine that favours the first place, and errs: grades in both orders, kept, and none made up."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medmllm.endpoint import Endpoint, TransientError
from medmllm.errors import ConfigError, RunError
from medmllm.evaluate.chatbot import Judge, judge_files, judge_run
from medmllm.evaluate.exam import Asked
from medmllm.evaluate.judge import Pair, judge, read_grades


class Server(ThreadingHTTPServer):
    """Grades an answer by its length, and the first one two grades higher."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies, self.bad, self.status, self.guard = [], 0, 200, threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.guard:
            self.server.bodies.append(body)
            bad = self.server.bad > 0
            self.server.bad -= bad
        text = body["messages"][-1]["content"]
        first, second = (text.split(f"[{name} answer]\n")[1].split("\n\n")[0] for name in ("First", "Second"))
        grades = {"first": min(10, len(first) + 2), "second": min(10, len(second))}
        said = "I would rather not." if bad or "ungraded" in text else f"```json\n{json.dumps(grades)}\n```"
        content = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def endpoint(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return Endpoint(server.url, "judge", tries=2)


def pair(number, own, other, kind="talk"):
    return Pair(f"q{number}", f"Question {number}?", "A film.", own, other, kind, f"i{number}")


PAIRS = [pair(0, "xxxxxxxx", "xx"), pair(1, "xxx", "xxxxxx"), pair(2, "xxxx", "xxxxx"), pair(3, "x", "xxxx", "detail")]


def test_both_orders_are_read_and_the_first_place_gives_itself_away(server, endpoint, tmp_path):
    told = judge(PAIRS, endpoint, tmp_path / "g.jsonl", seed=7)
    assert len(server.bodies) == 8
    assert {(body["seed"], body["temperature"]) for body in server.bodies} == {(7, 0.0)}
    own, other = 10 + 8 + 5 + 3 + 6 + 4 + 3 + 1, 2 + 4 + 6 + 8 + 5 + 7 + 4 + 6
    assert told["relative"] == pytest.approx(100 * own / other)
    assert (told["wins"], told["ties"], told["losses"]) == (1, 1, 2)  # a draw where the order decides
    assert told["inconsistent"] == 25.0
    assert told["first_place"] == pytest.approx(2.0)
    assert told["interval"][0] < told["relative"] < told["interval"][1]
    assert {kind: part["n"] for kind, part in told["by_kind"].items()} == {"talk": 3, "detail": 1}


def test_grades_are_kept_and_asked_once(server, endpoint, tmp_path):
    told = judge(PAIRS, endpoint, tmp_path / "g.jsonl")
    file = tmp_path / "g.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:5]) + b'{"key": "torn')
    del server.bodies[:]
    assert judge(PAIRS, endpoint, file) == told
    assert len(server.bodies) == 3
    del server.bodies[:]
    assert judge(PAIRS, endpoint, file) == told
    assert server.bodies == []
    judge(PAIRS[:1], endpoint, file, seed=1)  # another seed is another reading
    assert len(server.bodies) == 2


def test_a_reply_without_grades_is_asked_again_and_then_named(server, endpoint, tmp_path):
    server.bad = 1
    told = judge([*PAIRS, pair(9, "ungraded", "x")], endpoint, tmp_path / "g.jsonl", workers=1)
    assert (told["n"], told["failed"]) == (4, ["q9"])
    assert len(server.bodies) == 8 + 1 + 4
    assert judge([pair(9, "ungraded", "x")], endpoint, tmp_path / "g.jsonl")["relative"] is None


def test_a_wrong_key_ends_it(server, endpoint, tmp_path):
    server.status = 401
    with pytest.raises(RunError, match="401"):
        judge(PAIRS, endpoint, tmp_path / "g.jsonl")


@pytest.mark.parametrize(
    "said", ["7 and 8", '{"first": 7}', '{"first": 0, "second": 5}', '{"first": "x", "second": 1}', "[1, 2]"]
)
def test_replies_that_are_no_grades(said):
    with pytest.raises(TransientError):
        read_grades(said)


@pytest.fixture
def files(tmp_path):
    rows = [{"id": str(i), "question": "Why?", "answer": "xxxx", "image": f"{i}.png"} for i in range(3)]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    (tmp_path / "p.csv").write_text("id,prediction\n0,xxxxx\n1,xx\n2,\n")
    (tmp_path / "b.csv").write_text("id,prediction\n0,x\n1,x\n2,x\n")
    return tmp_path


def test_files_are_judged_beside_the_truth_or_another_system(server, endpoint, files):
    arguments = files / "r.json", files / "p.csv", Judge(endpoint), files / "g.jsonl"
    assert judge_files(*arguments)["n"] == 3
    assert "(nothing)" in str(server.bodies)
    assert judge_files(*arguments, baseline=files / "b.csv")["other"] < judge_files(*arguments)["other"]


def test_private_data_is_sent_nowhere(server, endpoint, files, finished, drawn, tmp_path):
    (files / "PRIVATE").write_text("")
    with pytest.raises(ConfigError, match="private"):
        judge_files(files / "r.json", files / "p.csv", Judge(endpoint), files / "g.jsonl")
    rows = json.loads(drawn.read_text())
    (drawn.parent / "marked.json").write_text(json.dumps([{**rows[0], "private": True}]))
    with pytest.raises(ConfigError, match="private"):
        judge_run(finished, Asked(source=str(drawn.parent / "marked.json")), Judge(endpoint), out=tmp_path / "o")
    assert server.bodies == []


def test_a_run_is_judged_and_the_grades_kept(server, endpoint, finished, tmp_path):
    told = judge_run(finished, Asked(limit=3), Judge(endpoint), out=tmp_path / "o")
    assert told["n"] == 3
    assert json.loads((tmp_path / "o" / "eval" / "test_limit3.chatbot.json").read_text()) == told
    assert "bright box" in str(server.bodies)  # the caption, which the judge may know
    del server.bodies[:]
    assert judge_run(finished, Asked(limit=3), Judge(endpoint), out=tmp_path / "o") == told
    assert server.bodies == []


def test_the_command_exits_5_when_some_are_not_graded(server, files, monkeypatch, capfd):
    from exgra.main import run

    monkeypatch.setattr("medmllm.evaluate.judge.with_retries", lambda call, pace, tries, salt: call(0))
    words = ["eval", "--references", files / "r.json", "--predictions", files / "p.csv", "--task", "chatbot"]
    words = [str(word) for word in words]
    assert run(words) == 2
    words += ["--endpoint", server.url, "--judge", "m"]
    assert run([*words, "--json"]) == 0
    (files / "p.csv").write_text("id,prediction\n0,xxxxx\n1,ungraded\n2,\n")
    capfd.readouterr()
    assert run(words) == 5
    out = capfd.readouterr().out
    assert "not graded" in out
    assert max(map(len, out.splitlines())) <= 80

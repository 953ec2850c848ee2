"""Extending captions against a server on this machine that does all that servers do."""

import base64
import email.message
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from medmllm.data.captions.job import estimate_cost, open_job, run_job
from medmllm.data.captions.journal import journal
from medmllm.data.captions.writers import EndpointWriter, LocalWriter, RuleWriter, parse
from medmllm.data.formats import read_file
from medmllm.endpoint import Endpoint, Pace, RefusedError, TransientError, with_retries
from medmllm.errors import ConfigError, RunError, UserError

KEY = "sk-very-secret-0123456789"


class Server(ThreadingHTTPServer):
    """Answers as `script` says: for each question, what to do at its first, second, ... request; then properly."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.asked, self.headers, self.slow, self.times = {}, Counter(), [], 0.0, []
        self.open, self.most = 0, 0
        self.guard = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, address):
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        turns = json.loads(body["messages"][-1]["content"])["turns"]
        question = turns[0]["question"]
        with server.guard:
            number = server.asked[question]
            server.asked[question] += 1
            server.headers.append(dict(self.headers))
            server.times.append(time.monotonic())
            server.open += 1
            server.most = max(server.most, server.open)
        try:
            time.sleep(server.slow)
            steps = server.script.get(question, [])
            getattr(self, steps[number] if number < len(steps) else "good")(turns)
        finally:
            with server.guard:
                server.open -= 1

    def reply(self, code, content, **headers):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def say(self, text):
        self.reply(200, {"choices": [{"message": {"role": "assistant", "content": text}}]})

    def good(self, turns):
        self.say(json.dumps({"answers": [f"At length: {turn['answer']}." for turn in turns]}))

    def fenced(self, turns):
        self.say(
            "Sure!\n```json\n"
            + json.dumps({"answers": [f"At length: {t['answer']}." for t in turns]}, indent=1)
            + "\n```"
        )

    def busy(self, turns):
        self.reply(429, {"error": {"message": "slow down"}}, Retry_After="0.05")

    def later(self, turns):
        self.reply(503, b"<html>down</html>", Retry_After="86400")

    def broken(self, turns):
        self.reply(500, {"error": {"message": f"oops {self.headers['Authorization']}"}})

    def repeat(self, turns):
        self.say(json.dumps({"answers": [f"Your key is {KEY}." for _ in turns]}))

    def repeat_escaped(self, turns):
        self.say('{"answers": ["' + "".join(f"\\u{ord(letter):04x}" for letter in KEY) + '"]}')

    def bad_json(self, turns):
        self.reply(200, b'{"choices": [{"message": ')

    def not_utf8(self, turns):
        self.reply(200, b"\xff\xfe\x00")

    def prose(self, turns):
        self.say("I cannot do that.")

    def short(self, turns):
        self.say(json.dumps({"answers": []}))

    def token(self, turns):
        self.say(json.dumps({"answers": ["<image> again" for _ in turns]}))

    def empty(self, turns):
        self.reply(200, {"choices": []})

    def drop(self, turns):
        self.connection.close()

    def cut(self, turns):
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b'{"choices"')
        self.wfile.flush()
        self.connection.close()

    def trickle(self, turns):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.05)

    def hang(self, turns):
        time.sleep(3)

    def denied(self, turns):
        self.reply(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})

    def refused(self, turns):
        self.reply(400, {"error": {"message": "content filter"}})

    def moved(self, turns):
        self.reply(307, b"", Location="http://127.0.0.1:1/v1/chat/completions")

    def endless(self, turns):
        self.reply(200, b" " * (2**22 + 2**17))


FAULTS = [
    "busy",
    "broken",
    "bad_json",
    "not_utf8",
    "prose",
    "short",
    "token",
    "empty",
    "drop",
    "cut",
    "trickle",
    "hang",
]


@pytest.fixture
def server():
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield found
        found.shutdown()


def write_data(folder, count=24):
    rows = []
    for number in range(count):
        talk = [
            {"from": "human", "value": f"<image>\nQuestion {number}?"},
            {"from": "gpt", "value": f"answer {number}"},
        ]
        if number % 5 == 0:
            talk += [{"from": "human", "value": "And why?"}, {"from": "gpt", "value": f"reason {number}"}]
        rows.append({"id": number, "image": f"{number}.png", "conversations": talk, "extra": {"kept": number}})
    (folder / "data.json").write_text(json.dumps(rows))
    return rows


@pytest.fixture
def data(tmp_path):
    write_data(tmp_path)
    return tmp_path / "data.json"


def job_of(server, data, **settings):
    settings = {"seconds": 0.6, "tries": 6} | settings
    endpoint = Endpoint(server.url, "a-model", **settings)
    return open_job(data, data.with_name("long.json"), EndpointWriter(endpoint))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pauses of hundredths of a second."""
    monkeypatch.setattr("medmllm.data.captions.writers.with_retries", lambda *a, **k: with_retries(*a, **k, base=0.01))


def expected(rows):
    long = []
    for row in rows:
        turns = [t | {"value": f"At length: {t['value']}."} if t["from"] == "gpt" else t for t in row["conversations"]]
        long.append(row | {"conversations_long": turns})
    return long


@pytest.mark.parametrize("fault", ["good", "fenced"])
def test_every_row_gets_its_own_answers_and_keeps_the_rest(server, data, fault):
    server.script = {f"Question {n}?": [fault] for n in range(24)}
    outcome = run_job(job_of(server, data))
    assert (outcome.written, outcome.failed) == (24, ())
    assert json.loads(outcome.file.read_text()) == expected(json.loads(data.read_text()))
    assert read_file(outcome.file).records[0].caption == "At length: answer 0. At length: reason 0."


def test_all_faults_are_survived_with_nothing_lost_or_doubled(server, data):
    """Every fault once, and rows with several after each other."""
    for number in range(24):
        server.script[f"Question {number}?"] = [
            FAULTS[number % 12],
            *(FAULTS[(number + 5) % 10 : (number + 5) % 10 + 2]),
        ]
    outcome = run_job(job_of(server, data), workers=8)
    assert outcome.failed == ()
    assert json.loads(outcome.file.read_text()) == expected(json.loads(data.read_text()))
    lines = data.with_name("long.json.progress.jsonl").read_text().splitlines()
    assert Counter(json.loads(line)["id"] for line in lines) == Counter(map(str, range(24)))


@pytest.mark.parametrize("fault", [*FAULTS[1:-2], "refused", "endless"])
def test_a_row_that_never_succeeds_is_told_and_tried_again(server, data, fault):
    server.script = {"Question 3?": [fault] * 9}
    job = job_of(server, data, tries=3)
    outcome = run_job(job)
    assert [identity for identity, _ in outcome.failed] == ["3"]
    assert outcome.file is None
    assert not job.out.exists()
    assert server.asked["Question 3?"] == (1 if fault in ("refused", "endless") else 3)
    server.script = {}
    before = server.asked.total()
    outcome = run_job(job_of(server, data))
    assert (outcome.written, server.asked.total() - before) == (1, 1)
    assert json.loads(outcome.file.read_text()) == expected(json.loads(data.read_text()))


def test_rows_may_be_missing_if_asked_for(server, data):
    server.script = {"Question 3?": ["refused"]}
    outcome = run_job(job_of(server, data), partial=True)
    rows = json.loads(outcome.file.read_text())
    assert [row["id"] for row in rows if "conversations_long" not in row] == [3]


@pytest.mark.parametrize("fault", ["denied", "moved", "later"])
def test_what_no_request_gets_past_stops_everything_and_keeps_what_is_done(server, data, fault, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.script = {f"Question {n}?": [fault] * 9 for n in range(12, 24)}
    with pytest.raises(RunError) as error:
        run_job(job_of(server, data), workers=1)
    assert KEY not in error.value.message + error.value.hint
    with journal(data.with_name("long.json.progress.jsonl")) as file:
        assert len(file.done) == 12
    server.script = {}
    assert run_job(job_of(server, data)).written == 12


def test_a_server_that_refuses_everything_is_left_soon(server, tmp_path):
    write_data(tmp_path, 60)
    server.script = {f"Question {n}?": ["refused"] for n in range(60)}
    with pytest.raises(RunError, match="first 20 rows have all failed"):
        run_job(job_of(server, tmp_path / "data.json"), workers=1)
    assert server.asked.total() <= 22


def test_the_wish_to_wait_holds_up_all_threads():
    pace, begin = Pace(None), time.monotonic()
    pace.hold(0.2)
    pace.take()
    assert time.monotonic() - begin >= 0.2


def test_pauses_double_and_end():
    waited = []
    pace = Pace(None)
    pace.wait = waited.append

    def call(number):
        raise TransientError("no")

    with pytest.raises(TransientError):
        with_retries(call, pace, tries=9, salt="x", base=1.0)
    assert len(waited) == 8
    assert all(0.5 * min(60, 2**n) <= pause <= 1.5 * min(60, 2**n) for n, pause in enumerate(waited))


def test_pace_and_concurrency_are_kept(server, data):
    server.slow, begin = 0.02, time.monotonic()
    run_job(job_of(server, data, per_minute=1200.0), workers=3)
    assert max(server.times) - begin >= 23 * 0.05  # however late a request arrives
    assert server.most <= 3


def test_the_key_stands_nowhere(server, data, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    server.script = {"Question 1?": ["broken"] * 9, "Question 2?": ["busy"]}
    job = job_of(server, data, key="MY_KEY", tries=2, seconds=30)
    outcome = run_job(job, partial=True)
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert "[key]" in outcome.failed[0][1]
    told = f"{job} {job.writer} {outcome} {caplog.text} {estimate_cost(job)}"
    files = b"".join(path.read_bytes() for path in data.parent.rglob("*") if path.is_file())
    assert KEY not in told
    assert KEY.encode() not in files


def test_without_a_key_none_is_sent(server, data, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    run_job(job_of(server, data))
    assert not any("Authorization" in headers for headers in server.headers)


def test_addresses_that_would_betray_the_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for url in ("http://example.org/v1", "https://user:pw@example.org/v1", "https://x.org/v1?key=1", "ftp://x", "x"):
        with pytest.raises(ConfigError) as error:
            Endpoint(url, "m")
        assert KEY not in error.value.message


@pytest.mark.parametrize("key", ["one\ntwo", "two words", "schl\u00fcssel", "a\tb", "bell\x07", "x\u2028x"], ids=ascii)
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(server, data, monkeypatch, key):
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="one line of printable ASCII") as error:
        job_of(server, data, key="MY_KEY")
    assert error.value.where == "the environment variable MY_KEY"
    assert key not in error.value.message + error.value.hint
    assert server.asked.total() == 0


def test_a_server_on_this_machine_is_asked_without_a_proxy(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    asking = [{"role": "user", "content": json.dumps({"turns": [{"question": "Clear?"}]})}]
    with pytest.raises(TransientError):
        Endpoint("http://127.0.0.1:1/v1", "m", "MY_KEY").ask(asking, max_tokens=1)
    assert server.headers == []


def test_a_refusal_that_trickles_ends_in_time(monkeypatch):
    class Slow(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            self.send_response(400)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.05)

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as slow:
        slow.daemon_threads = True
        threading.Thread(target=slow.serve_forever, daemon=True).start()
        endpoint = Endpoint(f"http://127.0.0.1:{slow.server_port}/v1", "m", seconds=0.5)
        with pytest.raises(RefusedError, match="Bad Request"):
            endpoint.ask([{"role": "user", "content": "{}"}], max_tokens=1)
        slow.shutdown()


def test_a_key_in_the_place_of_its_name_is_not_repeated(server):
    with pytest.raises(ConfigError, match="environment variable") as error:
        Endpoint(server.url, "m", KEY)
    assert KEY not in error.value.message + error.value.where + error.value.hint


@pytest.mark.parametrize(
    "text",
    [
        f"wrong key {KEY}.",
        f"wrong key {KEY.upper()}.",
        json.dumps({"key": KEY}),
        "x" * 290 + KEY,
        f"https://x.org/?key={KEY.replace('-', '%2D')} {KEY}",
        base64.b64encode(KEY.encode()).decode(),
    ],
)
def test_no_answer_of_a_server_shows_the_key(monkeypatch, text):
    monkeypatch.setenv("MY_KEY", KEY)
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m", "MY_KEY")
    failure = urllib.error.HTTPError("", 400, KEY, email.message.Message(), io.BytesIO(text.encode()))
    for said in (endpoint.hide(text), str(endpoint._failure(failure))):
        assert KEY[:12] not in said
        assert base64.b64encode(KEY.encode()).decode() not in said


def test_an_answer_that_repeats_the_key_is_stored_without_it(server, data, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    server.script = {"Question 1?": ["repeat"], "Question 2?": ["repeat_escaped"]}
    run_job(job := job_of(server, data, key="MY_KEY"))
    kept = job.progress.read_text() + job.out.read_text()
    assert KEY not in kept
    assert kept.count("[key]") >= 2


def test_a_word_in_the_place_of_a_key_changes_no_other_word(monkeypatch):
    monkeypatch.setenv("MY_KEY", "EMPTY")
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m", "MY_KEY")
    assert endpoint.hide("an empty bladder, NONEMPTY; key EMPTY") == "an empty bladder, NONEMPTY; key [key]"


MARKERS = ["PRIVATE", ".private", "Private.TXT", "private.md", "PRIVATE - do not share.txt", "_Private_"]
MARKERS += [
    "\uff30\uff32\uff29\uff36\uff21\uff34\uff25",
    "PRI\u200bVATE",
    "\ufeffprivate.txt",
    "#private#",
    "data.PRIVATE.bak",
]
NAMES = ["private", "Private", " PRIVATE ", "is_private", "Is Private", "\ufeffprivate", "pri\u200bvate", "PRIVATE?"]
NAMES += ["private_flag", "Private data", "patientIsPrivate"]
YES = [True, 1, "1", "true", "TRUE", " Yes ", "y", "x", "unknown", 2, [], {"level": "high"}]
NO = [False, 0, "0", "false", " FALSE ", "No", "n", "", None]


@pytest.mark.parametrize("name", MARKERS)
@pytest.mark.parametrize("place", [".", "images"])
def test_a_marker_in_any_spelling_beside_data_or_images_is_respected(server, data, name, place):
    (data.parent / "images").mkdir()
    rows = [row | {"image": f"images/{row['image']}"} for row in json.loads(data.read_text())]
    data.write_text(json.dumps(rows))
    job_of(server, data)
    (data.parent / place / name).write_text("")
    with pytest.raises(ConfigError, match="private"):
        job_of(server, data)
    assert server.asked.total() == 0


@pytest.mark.parametrize("folder", ["a", "a/b", "a/b/c"])
def test_a_marker_anywhere_between_image_and_data_file_is_respected(server, data, folder):
    deep = data.parent / "a/b/c"
    deep.mkdir(parents=True)
    rows = json.loads(data.read_text())
    rows[5]["image"] = "a/b/c/5.png"
    data.write_text(json.dumps(rows))
    job_of(server, data)
    (data.parent / folder / "Private").write_text("")
    with pytest.raises(ConfigError, match="private"):
        job_of(server, data)
    assert server.asked.total() == 0


@pytest.mark.parametrize("linked", ["data file", "image", "folder", "image in a mapping"])
def test_a_marker_where_a_link_leads_is_respected(server, data, linked):
    place = data.parent / "open"
    secret = place / "secret/images"
    secret.mkdir(parents=True)
    (secret / "0.png").write_bytes(b"")
    rows = [row | {"image": f"images/{row['image']}"} for row in json.loads(data.read_text())]
    if linked == "folder":
        (place / "images").symlink_to(secret)
    elif linked == "image":
        (place / "images").mkdir()
        (place / rows[0]["image"]).symlink_to(secret / "0.png")
    elif linked == "image in a mapping":
        rows[0]["picture"] = {"files": [{"path": "secret/images/0.png"}]}
    target = (secret.parent if linked == "data file" else place) / "data.json"
    target.write_text(json.dumps(rows))
    if linked == "data file":
        (place / "data.json").symlink_to(target)
    job_of(server, place / "data.json")
    (secret.parent / "PRIVATE").write_text("")
    with pytest.raises(ConfigError, match="private"):
        job_of(server, place / "data.json")
    assert server.asked.total() == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", YES, ids=str)
def test_a_row_that_is_not_plainly_public_is_respected(server, data, name, value):
    rows = json.loads(data.read_text())
    rows[17][name] = value
    data.write_text(json.dumps(rows))
    with pytest.raises(ConfigError, match="row 18 is marked private"):
        job_of(server, data)
    assert server.asked.total() == 0


@pytest.mark.parametrize(
    "text", ['{"private": true}', ' [{"a": 1, "Private": "yes"}]', '{"b": {"is_private": 1}}', r'{"\u0070rivate": 1}']
)
def test_a_mark_in_a_text_of_json_is_respected(server, data, text):
    rows = json.loads(data.read_text())
    rows[3]["metadata"] = text
    data.write_text(json.dumps(rows))
    with pytest.raises(ConfigError, match="row 4 is marked private"):
        job_of(server, data)
    assert server.asked.total() == 0


def test_words_about_privacy_mark_nothing(server, data):
    rows = json.loads(data.read_text())
    rows[3]["note"] = "[a private room]"
    rows[4]["note"] = '{"private": false}'
    rows[5]["note"] = "private: yes"
    data.write_text(json.dumps(rows))
    job_of(server, data)


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv"])
def test_of_a_mark_that_is_there_twice_none_is_picked(server, tmp_path, ending):
    row = '{"id": "1", "image": "1.png", "question": "Clear?", "answer": "yes", "private": true, "private": false}'
    table = "id,image,question,answer,private,private\n1,1.png,Clear?,yes,true,false\n"
    path = tmp_path / f"data.{ending}"
    path.write_text({"json": f"[{row}]", "jsonl": row + "\n", "csv": table}[ending])
    with pytest.raises(UserError, match=r"the key private is there twice|two columns are called private"):
        job_of(server, path)
    assert server.asked.total() == 0


@pytest.mark.parametrize("value", NO, ids=repr)
def test_rows_that_are_plainly_public_are_sent(server, data, value):
    rows = [row | {"Private": value} for row in json.loads(data.read_text())]
    data.write_text(json.dumps(rows))
    run_job(job_of(server, data))
    assert server.asked.total() == len(rows)


def test_files_of_other_names_mark_nothing(server, data):
    for name in ("privateer.txt", "unprivate", "privately.md"):
        (data.parent / name).write_text("")
    job_of(server, data)


def test_the_estimate_sends_nothing_and_counts_what_is_left(server, data):
    job = job_of(server, data)
    found = estimate_cost(job, 1.0, 2.0)
    assert (found.rows, found.have, found.done, found.todo) == (24, 0, 0, 24)
    assert found.cost == round((found.tokens_in + 2 * found.tokens_out) / 1e6, 4)
    assert found.tokens_out == 100 * 29
    server.script = {"Question 3?": ["refused"]}
    run_job(job)
    found = estimate_cost(job_of(server, data))
    assert (found.done, found.todo, found.cost) == (23, 1, None)


def test_rows_with_extended_answers_keep_them(server, data):
    rows = expected(json.loads(data.read_text()))
    for row in rows[1:]:
        del row["conversations_long"]
    data.write_text(json.dumps(rows))
    outcome = run_job(job_of(server, data))
    assert outcome.written == 23
    assert server.asked["Question 0?"] == 0
    assert json.loads(outcome.file.read_text()) == expected(rows)


def test_tables_become_conversations(server, tmp_path):
    (tmp_path / "rows.csv").write_text(
        "image,question,answer,subject\na.png,Question 1?,yes,p1\nb.png,Question 2?,lung,p2\n"
    )
    endpoint = Endpoint(server.url, "m")
    outcome = run_job(open_job(tmp_path / "rows.csv", tmp_path / "rows.jsonl", EndpointWriter(endpoint)))
    records = read_file(outcome.file).records
    assert [(r.id, r.kind, r.subject, r.caption) for r in records] == [
        ("rows-1", "closed", "p1", "At length: yes."),
        ("rows-2", "open", "p2", "At length: lung."),
    ]


def test_a_changed_question_is_asked_again(server, data):
    run_job(job_of(server, data))
    rows = json.loads(data.read_text())
    rows[4]["conversations"][1]["value"] = "another answer"
    data.write_text(json.dumps(rows))
    data.with_name("long.json").unlink()
    assert run_job(job_of(server, data)).written == 1


def test_a_line_that_a_crash_cut_is_written_again(server, data):
    progress = data.with_name("long.json.progress.jsonl")
    run_job(job_of(server, data))
    data.with_name("long.json").unlink()
    whole = progress.read_bytes()
    progress.write_bytes(whole[:-20])
    assert run_job(job_of(server, data)).written == 1
    assert len(progress.read_text().splitlines()) == 24
    progress.write_bytes(b"nonsense\n" + whole)
    data.with_name("long.json").unlink()
    with pytest.raises(RunError, match="damaged") as error:
        run_job(job_of(server, data))
    assert "line 1" in error.value.where


def test_two_processes_do_not_write_one_journal(tmp_path):
    with journal(tmp_path / "j"), pytest.raises(RunError, match="another process"), journal(tmp_path / "j"):
        pass


def test_nothing_is_lost_or_doubled_after_a_kill(server, tmp_path):
    """Killed twice in the middle of its work, then run to the end."""
    rows = write_data(tmp_path, 40)
    server.slow = 0.05
    server.script = {f"Question {n}?": [["busy", "drop", "bad_json"][n % 3]] for n in range(40)}
    command = [sys.executable, "-m", "exgra", "data", "extend-captions", "data.json", "long.json", "--concurrency", "4"]
    command += ["--endpoint", server.url, "--model", "m", "--timeout", "20"]
    progress = tmp_path / "long.json.progress.jsonl"
    for wanted in (5, 15):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until = time.monotonic() + 240
        while not (progress.exists() and progress.read_bytes().count(b"\n") >= wanted):
            assert time.monotonic() < until
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "long.json").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "long.json").read_text()) == expected(rows)
    lines = progress.read_text().splitlines()
    assert Counter(json.loads(line)["id"] for line in lines) == Counter(str(n) for n in range(40))


def test_rules_state_what_is_known(tmp_path):
    rows = [{"id": 1, "image": "1.png", "question": "Is the heart enlarged?", "answer": "no", "modality": "X-Ray"}]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    Image.new("L", (20, 20), 130).save(tmp_path / "1.png")
    writer = RuleWriter(lambda record: Image.open(tmp_path / record.image))
    outcome = run_job(open_job(tmp_path / "data.json", tmp_path / "long.json", writer))
    caption = read_file(outcome.file).records[0].caption
    assert "“Is the heart enlarged?” the answer is: no." in caption
    assert "The image was made by X-Ray." in caption
    assert "The heart pumps the blood." in caption
    assert "50 percent" in caption


def test_rules_say_nothing_that_illness_makes_false(tmp_path):
    Image.new("L", (20, 20), 130).save(tmp_path / "1.png")
    table = "image,question,answer\n1.png,Is there a shadow in a lung?,yes\n"
    (tmp_path / "data.csv").write_text(table)
    writer = RuleWriter(lambda record: Image.open(tmp_path / record.image))
    outcome = run_job(open_job(tmp_path / "data.csv", tmp_path / "long.json", writer))
    assert "A healthy lung is filled with air." in read_file(outcome.file).records[0].caption


def test_a_model_on_this_machine(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    from medmllm.data.tokenizer import build_tokenizer

    tokenizer = build_tokenizer((), 300)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), **sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    write_data(tmp_path, 3)
    writer = LocalWriter.load(str(tmp_path / "lm"))
    outcome = run_job(open_job(tmp_path / "data.json", tmp_path / "long.json", writer), partial=True)
    assert outcome.written + len(outcome.failed) == 3
    with pytest.raises(ConfigError, match="no language model"):
        LocalWriter.load(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{" * 5000,
        '{"answers": "a"}',
        '{"answers": [1]}',
        '{"answers": [" "]}',
        "[]",
        '{"answers": ["\\ud800"]}',
        "[" * 5000,
    ],
)
def test_replies_without_answers(text):
    with pytest.raises(TransientError):
        parse(text, 1)


def test_replies_with_a_preface():
    assert parse('Here {it} is: {"answers": ["a {b}"]} done', 1) == ["a {b}"]


def test_files_that_cannot_be_made(server, data):
    writer = EndpointWriter(Endpoint(server.url, "m"))
    for name in ("data.json", "x.csv", "none/x.json"):
        with pytest.raises(ConfigError):
            open_job(data, Path(data.parent / name), writer)

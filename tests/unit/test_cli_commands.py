"""The commands as they are typed, against a scripted server over real HTTP: output, errors as sentences, exit codes."""

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from knts.cli import ask as asking
from knts.cli.main import cli
from knts.cli.status import queues
from knts.cli.watching import line

ROOT = Path(__file__).resolve().parents[2]
ID = "a" * 32


@dataclass
class ScriptedServer:
    """Answers each method and path by its script, the last answer again and again: (status, content type, body)."""

    url: str = ""
    answers: dict[str, list[Any]] = field(default_factory=dict)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def json(self, call: str, body: Any, status: int = 200) -> None:
        kind = "application/json" if status < 400 else "application/problem+json"
        self.answers.setdefault(call, []).append((status, kind, orjson.dumps(body)))

    def stream(self, call: str, *events: tuple[str, str, Any], hold: bool = False) -> None:
        """Server-sent events; with `hold` the stream then stays open."""
        text = "".join(f"id: {id}\nevent: {kind}\ndata: {orjson.dumps(data).decode()}\n\n" for id, kind, data in events)
        self.answers.setdefault(call, []).append(
            (200, "text/event-stream; hold" if hold else "text/event-stream", text.encode())
        )

    def at(self, call: str) -> list[tuple[dict[str, str], bytes]]:
        """Headers and body of each request of this call."""
        return [(headers, body) for name, headers, body in self.got if name == call]


def handler(script: ScriptedServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            call = f"{self.command} {self.path}"
            script.got.append((call, {name.lower(): value for name, value in self.headers.items()}, body))
            found = script.answers.get(call) or [(404, "text/plain", f"no script for {call}".encode())]
            status, kind, reply = found.pop(0) if len(found) > 1 else found[0]
            self.send_response(status)
            self.send_header("content-type", kind)
            self.end_headers()
            self.wfile.write(reply)
            self.wfile.flush()
            while "hold" in kind and not any(name.startswith("DELETE") for name, _, _ in script.got):
                time.sleep(0.01)

        do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    script = ScriptedServer()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(script))
    script.url = f"http://127.0.0.1:{running.server_address[1]}"
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield script
    running.shutdown()
    thread.join()
    running.server_close()


Knts = Callable[..., Result]


@pytest.fixture
def knts(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Knts:
    for name in [name for name in os.environ if name.startswith("KNTS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KNTS_URL", server.url)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str, **env: str) -> Result:
        return CliRunner().invoke(cli, arguments, env=env)

    return run


# -- what every command shares ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [[], ["load"], ["search"], ["ask"], ["events"], ["trace"], ["status"], ["up"], ["dead-letters"]]
)
def test_every_command_explains_itself(knts: Knts, command: list[str]) -> None:
    result = knts(*command, "--help")
    assert result.exit_code == 0
    assert "Usage: " in result.output


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["search"], ["search", "x", "--filter", "novalue"], ["search", "x", "--limit", "0"], ["load"]],
)
def test_wrong_usage_is_2(knts: Knts, arguments: list[str]) -> None:
    assert knts(*arguments).exit_code == 2


@pytest.mark.parametrize("arguments", [["search", "x"], ["ask", "x"], ["status"], ["load", str(ROOT / "README.md")]])
def test_a_server_that_is_not_there_is_3_and_a_sentence(knts: Knts, arguments: list[str]) -> None:
    result = knts(*arguments, "--url", "http://127.0.0.1:9")
    assert result.exit_code == 3
    assert "cannot reach http://127.0.0.1:9: connection refused. `knts up` starts a server" in result.output
    assert "Traceback" not in result.output


def test_an_address_that_is_none_is_said(knts: Knts) -> None:
    result = knts("search", "x", "--url", "localhost:8080")
    assert (result.exit_code, "is not an address" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (400, {"title": "Bad request", "detail": "limit: too many"}, "limit: too many"),
        (400, {"detail": "bad", "errors": [{"field": "q", "rule": "is required"}]}, "bad (q: is required)"),
        (401, {"title": "Unauthorized"}, "the server wants a key: set KNTS_API_KEY to one that it knows"),
        (503, {"title": "Temporarily unavailable", "detail": "Redis is gone"}, "Redis is gone"),
        (500, {}, "it failed"),
        (502, [1], "the server answered 502: [1]"),
    ],
)
def test_a_problem_is_one_sentence(knts: Knts, server: ScriptedServer, status: int, body: Any, told: str) -> None:
    server.json("GET /v1/search?q=x&limit=10", body, status)
    result = knts("search", "x")
    assert (result.exit_code, result.output) == (1, f"knts: {told}\n")


def test_the_key_comes_from_the_environment(knts: Knts, server: ScriptedServer) -> None:
    server.json("GET /v1/search?q=x&limit=10", {"query": "x", "found": 0, "took_ms": 1, "hits": [], "facets": {}})
    assert knts("search", "x", KNTS_API_KEY=" secret ").exit_code == 0
    ((headers, _),) = server.at("GET /v1/search?q=x&limit=10")
    assert headers["authorization"] == "Bearer secret"


# -- search -----------------------------------------------------------------------------------------------------------

HIT = {
    "document_id": "plays/hamlet.xml",
    "version": 3,
    "title": "Hamlet",
    "url": None,
    "score": 1.0,
    "section": "ACT I",
    "passage": {"start": 10, "end": 30, "text": "HAMLET\nTo be \x1b[31mor"},
    "highlights": [[7, 9]],
}


def test_search_prints_hits_facets_and_how_many(knts: Knts, server: ScriptedServer) -> None:
    call = "GET /v1/search?q=to+be&limit=5&facet=speaker&filter.play=Hamlet"
    facets = {"speaker": [{"value": f"S{n}", "count": 20 - n} for n in range(14)]}
    server.json(call, {"query": "to be", "found": 1, "took_ms": 2.5, "hits": [HIT], "facets": facets})
    result = knts("search", "to", "be", "--limit", "5", "--facet", "speaker", "--filter", "play=Hamlet")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "1. Hamlet › ACT I",
        "HAMLET",
        "To be �[31mor",
        "plays/hamlet.xml v3 10–30",
        "",
        "speaker: " + ", ".join(f"S{n} ({20 - n})" for n in range(12)) + " … and 2 more",
        "1 found in 2.5 ms",
    ]


def test_search_as_json_is_what_the_server_said(knts: Knts, server: ScriptedServer) -> None:
    found = {"query": "x", "found": 1, "took_ms": 1, "hits": [HIT], "facets": {}}
    server.json("GET /v1/search?q=x&limit=10", found)
    assert orjson.loads(knts("search", "x", "--json").output) == found


# -- ask --------------------------------------------------------------------------------------------------------------

CITATION = {"document_id": "d", "version": 1, "title": "The Play", "url": None, "start": 3, "end": 9, "quote": "To\nbe"}
FINAL = {
    "id": ID,
    "question": "q",
    "status": "completed",
    "answer": "To be.",
    "model": "small",
    "citations": [{**CITATION, "answer_start": 0, "answer_end": 5}, {**CITATION, "answer_start": 1, "answer_end": 5}],
    "passages": [],
    "cache": "miss",
    "usage": {"prompt_tokens": 30, "completion_tokens": 7},
    "timings_ms": {"queued": 1, "search": 5, "first_token": 400, "total": 1500},
}
POST = "POST /v1/answers"


def test_an_answer_is_streamed_with_its_sources(knts: Knts, server: ScriptedServer) -> None:
    deltas = [
        ("1", "delta", {"text": "wrong"}),
        ("2", "reset", {}),
        ("3", "delta", {"text": "To "}),
        ("4", "delta", {"text": "be."}),
    ]
    server.stream(POST, ("0", "queued", {"id": ID}), *deltas, ("5", "completed", FINAL))
    result = knts("ask", "who", "is?", "--model", "small", "--filter", "play=Hamlet", "--refresh", "--passages", "3")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["wrong", "", "To be.", "", "[1] The Play", "    “To be”", "    d v1 3–9"]
    summary = f"small · cache miss · first word after 0.40 s · done after 1.50 s · 30 + 7 tokens · knts trace {ID}"
    assert result.stderr.splitlines() == ["— starting again —", summary]
    ((headers, body),) = server.at(POST)
    assert headers["accept"] == "text/event-stream"
    assert orjson.loads(body) == {
        "question": "who is?",
        "model": "small",
        "filters": {"play": "Hamlet"},
        "max_passages": 3,
        "cache": "refresh",
    }


def test_a_stream_that_breaks_is_taken_up_where_it_was(
    knts: Knts, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PAUSE", 0.01)
    server.stream(POST, ("p0", "queued", {"id": ID}), ("p1", "delta", {"text": "To "}))
    events = f"GET /v1/answers/{ID}/events"
    server.json(events, {"detail": "busy"}, 503)
    server.stream(events, ("p2", "delta", {"text": "be."}))
    server.stream(events, ("p3", "completed", FINAL))
    result = knts("ask", "x")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "To be.")
    assert [headers["last-event-id"] for headers, _ in server.at(events)] == ["p1", "p1", "p2"]


def test_a_stream_that_never_goes_on_is_given_up(
    knts: Knts, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PAUSE", 0.001)
    server.stream(POST, ("p0", "queued", {"id": ID}))
    server.stream(f"GET /v1/answers/{ID}/events")
    result = knts("ask", "x")
    assert (result.exit_code, "closed the stream before the answer ended" in result.stderr) == (3, True)
    assert len(server.at(f"GET /v1/answers/{ID}/events")) == asking.PATIENCE


def test_an_answer_that_has_expired_meanwhile_is_not_waited_for(
    knts: Knts, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PAUSE", 0.001)
    server.stream(POST, ("p0", "queued", {"id": ID}))
    server.json(f"GET /v1/answers/{ID}/events", {"detail": "it has expired"}, 410)
    result = knts("ask", "x")
    assert (result.exit_code, result.stderr) == (1, "knts: it has expired\n")


@pytest.mark.parametrize(
    ("final", "code", "told"),
    [
        ({"status": "abstained", "answer": ""}, 4, "The documents don't answer this."),
        ({"status": "abstained", "answer": "Nothing on that."}, 4, "Nothing on that."),
        ({"status": "failed", "reason": "the model is gone"}, 1, "knts: the model is gone"),
        ({"status": "failed", "reason": "x", "problem": {"detail": "no model"}}, 1, "knts: no model"),
        ({"status": "cancelled"}, 1, "knts: the answer cancelled"),
    ],
)
def test_an_end_without_an_answer_has_its_own_code(
    knts: Knts, server: ScriptedServer, final: Mapping[str, Any], code: int, told: str
) -> None:
    server.stream(POST, ("0", "queued", {"id": ID}), ("1", str(final["status"]), {"id": ID, **final}))
    result = knts("ask", "x")
    assert (result.exit_code, told in result.output) == (code, True)


def test_an_abstention_tells_why_and_offers_the_nearest_documents(knts: Knts, server: ScriptedServer) -> None:
    passage = {"document_id": "handbook/leave", "version": 2, "title": "Leave", "section": "II", "start": 3, "end": 9}
    more = [{**passage, "text": "…"}, {**passage, "document_id": "bare", "title": "", "section": "", "text": "…"}]
    final = {"id": ID, "status": "abstained", "answer": "", "reason": "nothing fits", "passages": more}
    server.stream(POST, ("0", "queued", {"id": ID}), ("1", "abstained", final))
    assert knts("ask", "x").stdout.splitlines() == [
        "The documents don't answer this.",
        "nothing fits",
        "",
        "Nearest to it:",
        "  Leave › II  (handbook/leave v2 3–9)",
        "  bare  (bare v2 3–9)",
    ]


def test_an_answer_as_json_is_the_last_frame(knts: Knts, server: ScriptedServer) -> None:
    server.stream(POST, ("0", "queued", {"id": ID}), ("1", "delta", {"text": "To be."}), ("2", "completed", FINAL))
    assert orjson.loads(knts("ask", "x", "--json", "--no-cache").stdout) == FINAL


def test_ctrl_c_cancels_the_answer(server: ScriptedServer) -> None:
    server.stream(POST, ("0", "queued", {"id": ID}), ("1", "delta", {"text": "To"}), hold=True)
    server.json(f"DELETE /v1/answers/{ID}", None, 200)
    env = {**os.environ, "KNTS_URL": server.url}
    command = [sys.executable, "-m", "knts.cli", "ask", "x"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.read(2) == b"To"
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 130
        assert b"Traceback" not in running.stderr.read()
    assert len(server.at(f"DELETE /v1/answers/{ID}")) == 1


# -- load -------------------------------------------------------------------------------------------------------------


def test_load_says_what_became_of_each(knts: Knts, server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "good one.md").write_text("# Good\ntext")
    (tmp_path / "bad.md").write_bytes(b"\xff")
    (tmp_path / "other.png").write_bytes(b"")
    place = f"/v1/documents/{tmp_path.name}%2Fgood%20one.md"
    server.json(f"PUT {place}", {"id": "x", "version": 1, "event_id": "e"}, 202)
    server.json(f"GET {place}", {"id": "x", "version": 1, "status": "indexed"})
    result = knts("load", str(tmp_path), "--tag", "t", "--metadata", "k=v", "--metadata", "k=w")
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[0].startswith("1 sent, 1 indexed, 1 refused, in ")
    assert lines[1:] == [
        "1 files of other types were left out",
        f"  refused  {tmp_path.name}/bad.md: not UTF-8 (byte 0xff at position 0)",
    ]
    ((_, body),) = server.at(f"PUT {place}")
    assert orjson.loads(body)["metadata"] == {"k": ["v", "w"]}
    report = orjson.loads(knts("load", str(tmp_path / "good one.md"), "--json", "--no-wait", "--prefix", "../").stdout)
    assert report["refused"] == [
        {"id": "../good one.md", "error": "the server answered 404: no script for PUT /v1/documents/..%2Fgood%20one.md"}
    ]


# -- events, status, trace --------------------------------------------------------------------------------------------

ATTRIBUTES = {"type": "knts.document.upserted.v1", "subject": "a.md", "correlationid": ID}


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("accepted", {"triggers": ["index-document"]}, "→ document.upserted a.md  for index-document"),
        ("accepted", {"triggers": []}, "→ document.upserted a.md  for nobody"),
        (
            "delivery",
            {"trigger": "t", "outcome": "delivered", "status": 200, "attempt": 1, "reply": {"type": "knts.x.v1"}},
            "  t: delivered (200) → x  document.upserted a.md",
        ),
        (
            "delivery",
            {"trigger": "t", "outcome": "retried", "fault": "refused", "attempt": 2, "retry_in": 1.25},
            "  t: retried (refused), attempt 2, again in 1.2 s  document.upserted a.md",
        ),
    ],
)
def test_events_are_lines(kind: str, data: dict[str, Any], told: str) -> None:
    assert line(kind, {"attributes": ATTRIBUTES, **data}, "12:00:00.000").plain == f"12:00:00.000 aaaaaaaa {told}"


def test_events_that_were_missed_are_said() -> None:
    assert "7 messages were missed" in line("missed", {"messages": 7}, "12:00:00.000").plain


def test_a_broker_without_a_tap_is_said(knts: Knts, server: ScriptedServer) -> None:
    result = knts("events", "--broker", f"{server.url}/default/kn-ts")
    assert (result.exit_code, "has no tap to watch" in result.output) == (1, True)


METRICS = """# HELP x
knts_broker_queue_depth{sink="subscriber",trigger="default/search"} 3.0
knts_broker_queue_depth{sink="dead-letter",trigger="default/search"} 0.0
knts_broker_deliveries_running{sink="subscriber",trigger="default/search"} 1.0
knts_broker_retries_waiting{sink="subscriber",trigger="default/search"} 2.0
knts_broker_accepted_total{broker="x",matched="yes"} 9.0
"""


def test_queues_are_read_from_the_brokers_metrics() -> None:
    assert queues(METRICS) == {
        "default/search": {"waiting": 3, "running": 1, "retrying": 2},
        "default/search (dead letters)": {"waiting": 0},
    }


def test_status_tells_of_each_part(knts: Knts, server: ScriptedServer) -> None:
    server.json("GET /readyz", {"detail": "Typesense is gone"}, 503)
    listed = [{"id": "a", "status": "indexed"}, {"id": "b", "status": "pending"}]
    server.json("GET /v1/documents?limit=1000", {"documents": listed, "next": "b"})
    server.json("GET /v1/documents?limit=1000&after=b", {"documents": listed[:1], "next": None})
    server.json("GET /v1/models", {"data": [{"id": "small"}]})
    result = knts("status", "--broker", "http://127.0.0.1:9/default/kn-ts")
    assert result.exit_code == 1
    assert [text.strip().split(maxsplit=1) for text in result.stdout.splitlines() if text.strip()] == [
        ["ingress", "Typesense is gone"],
        ["broker", "not reachable from here"],
        ["documents", "2 indexed, 1 pending"],
        ["models", "small"],
    ]


def test_a_broker_of_knatives_has_no_page_and_is_ready_when_it_takes_events(knts: Knts, server: ScriptedServer) -> None:
    server.json("GET /v1/documents?limit=1000", {"documents": [], "next": None})
    ingress = {"GET /readyz": [(200, "text/plain", b""), (405, "text/plain", b"")]}
    server.answers.update(ingress | {"OPTIONS /default/kn-ts": [(200, "text/plain", b"")]})
    result = knts("status", "--broker", f"{server.url}/default/kn-ts", "--json")
    assert orjson.loads(result.stdout)["parts"] == {"ingress": "ready", "broker": "ready"}
    assert result.exit_code == 0


def test_trace_of_what_was_not_recorded_is_said(knts: Knts, tmp_path: Path) -> None:
    result = knts("trace", ID, "--dir", str(tmp_path))
    assert result.exit_code == 1
    assert result.output == f"knts: no spans are recorded in {tmp_path}; --dir or KNTS_TRACE_DIR names another folder\n"


def test_spans_are_looked_for_where_the_local_run_writes_them(
    knts: Knts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"in {ROOT}/.knts/traces" in knts("trace", ID).output
    (tmp_path / ".knts" / "traces").mkdir(parents=True)
    assert "in .knts/traces" in knts("trace", ID).output
    assert "in /elsewhere/traces" in knts("trace", ID, KNTS_HOME="/elsewhere").output

"""`knts dead-letters` as it is typed, against a scripted function and Broker over real HTTP."""

import base64
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from click.testing import CliRunner, Result

from knts.cli.main import cli
from tests.unit import test_cli_commands
from tests.unit.test_cli_commands import ScriptedServer

Knts = Callable[..., Result]
server = test_cli_commands.server
TRIGGER = "POST /default/kn-ts/triggers/search"


@pytest.fixture
def knts(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Knts:
    for name in [name for name in os.environ if name.startswith("KNTS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KNTS_HOME", str(tmp_path))
    monkeypatch.setenv("KNTS_DEAD_LETTERS_URL", server.url)
    monkeypatch.setenv("KNTS_BROKER_URL", f"{server.url}/default/kn-ts")
    monkeypatch.setenv("KNTS_OPERATOR_KEY", "secret")

    def run(*arguments: str, typed: str = "", **env: str) -> Result:
        return CliRunner().invoke(cli, ["dead-letters", *arguments], env=env, input=typed)

    return run


def letter(letter_id: str = "x", data: bytes = b'{"n": 1}', **changes: Any) -> dict[str, Any]:
    attributes = {
        "specversion": "1.0",
        "id": "1",
        "source": "/test",
        "type": "knts.search.requested.v1",
        "datacontenttype": "application/json",
        "knativeerrordest": "http://s/",
        "knativeerrorcode": "422",
        "kntserrortrigger": "default/search",
        "knativearrivaltime": "2026-01-01T00:00:00Z",
    }
    problem = {"detail": "q: is empty", "errors": [{"field": "q", "rule": "must not be \x1b[31mempty"}]}
    return {
        "id": letter_id,
        "stored": "2026-01-01T00:00:00.000Z",
        "times": 3,
        "bytes": len(data),
        "cut": 0,
        "trigger": "default/search",
        "destination": "http://s/",
        "code": 422,
        "problem": problem,
        "text": None,
        "attributes": attributes,
        "data_base64": base64.b64encode(data).decode(),
        **changes,
    }


def kept(server: ScriptedServer, *letters: dict[str, Any], dropping: int = 204) -> None:
    """The function has these letters, and answers a drop so."""
    for one in letters:
        server.json(f"GET /letters/{one['id']}", one)
        dropped = (dropping, "application/problem+json", b"" if dropping == 204 else b'{"detail": "came again"}')
        server.answers[f"DELETE /letters/{one['id']}?times=3"] = [dropped]
        server.answers[f"DELETE /letters/{one['id']}"] = [dropped]


def calls(server: ScriptedServer) -> list[str]:
    return [call for call, _, _ in server.got]


def test_a_list_is_read_page_by_page_up_to_its_limit(knts: Knts, server: ScriptedServer) -> None:
    server.json("GET /letters?type=knts.&limit=50", {"letters": [letter("a")], "next": "7-a"})
    server.json("GET /letters?type=knts.&after=7-a&limit=49", {"letters": [letter("b", times=1)], "next": None})
    result = knts("list", "--type", "knts.")
    assert result.exit_code == 0
    assert "a  2026-01-01T00:00:00 ×3  default/search  knts.search.requested.v1" in result.stdout
    assert "422 q: is empty" in result.stdout
    assert "b  2026-01-01T00:00:00  default/search" in result.stdout
    assert all(headers["authorization"] == "Bearer secret" for _, headers, _ in server.got)


def test_a_list_that_goes_on_says_how(knts: Knts, server: ScriptedServer) -> None:
    server.json("GET /letters?limit=1", {"letters": [letter("a")], "next": "7-a"})
    result = knts("list", "--limit", "1")
    assert "more: --after 7-a" in result.stderr
    assert orjson.loads(knts("list", "--limit", "1", "--json").stdout)["next"] == "7-a"


def test_an_empty_list_says_so(knts: Knts, server: ScriptedServer) -> None:
    server.json("GET /letters?limit=50", {"letters": [], "next": None})
    assert knts("list").stdout == "no dead letters\n"


def test_since_is_a_time_or_how_long_ago(knts: Knts, server: ScriptedServer) -> None:
    for since in ("2h", "2026-01-31T12:00:00Z", "2026-01-31"):
        knts("list", "--since", since)
    given = [parse_qs(urlsplit(call.split()[1]).query)["since"][0] for call in calls(server)]
    ago = datetime.now(UTC) - datetime.fromisoformat(given[0])
    assert 7200 <= ago.total_seconds() < 7300
    assert given[1] == "2026-01-31T12:00:00.000+00:00"
    assert datetime.fromisoformat(given[2]).tzinfo is not None
    assert knts("list", "--since", "yesterday").exit_code == 2


def test_a_letter_is_shown_with_its_problem_and_data_and_no_control_characters(
    knts: Knts, server: ScriptedServer
) -> None:
    kept(server, letter())
    result = knts("show", "x")
    assert result.exit_code == 0
    for told in ("default/search", "http://s/", "422 q: is empty", "q: must not be", '"n": 1', "/test"):
        assert told in result.stdout
    assert "\x1b[31mempty" not in result.stdout
    assert orjson.loads(knts("show", "x", "--json").stdout)["data"] == {"n": 1}


def test_data_that_is_no_json_is_shown_as_text(knts: Knts, server: ScriptedServer) -> None:
    kept(server, letter(data=b"\xff plain", cut=5))
    result = knts("show", "x")
    assert "plain" in result.stdout
    assert "5 more bytes" in result.stderr


def test_a_letter_that_is_not_there_is_a_sentence(knts: Knts, server: ScriptedServer) -> None:
    server.json("GET /letters/y", {"detail": "none"}, 404)
    result = knts("show", "y")
    assert (result.exit_code, result.stderr) == (1, "knts: there is no dead letter 'y'\n")


def test_a_replay_goes_to_the_trigger_as_it_was_and_then_the_letter_is_removed(
    knts: Knts, server: ScriptedServer
) -> None:
    kept(server, letter())
    server.json(TRIGGER, None, 202)
    result = knts("replay", "x")
    assert (result.exit_code, result.stdout) == (0, "x replayed\n1 replayed of 1\n")
    assert calls(server) == ["GET /letters/x", TRIGGER, "DELETE /letters/x?times=3"]
    [(headers, body)] = server.at(TRIGGER)
    assert body == b'{"n": 1}'
    assert sorted(name for name in headers if name.startswith("ce-")) == [
        "ce-id",
        "ce-source",
        "ce-specversion",
        "ce-type",
    ]
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers


def test_a_replay_by_filter_takes_what_was_there_when_it_began(knts: Knts, server: ScriptedServer) -> None:
    server.json("GET /letters?trigger=search&limit=500", {"letters": [letter("a")], "next": "1-a"})
    server.json("GET /letters?trigger=search&after=1-a&limit=500", {"letters": [letter("b")], "next": None})
    kept(server, letter("a"), letter("b"))
    server.json(TRIGGER, None, 202)
    assert knts("replay", "--trigger", "search").exit_code == 0
    sent = calls(server)
    assert sent.index(TRIGGER) > sent.index("GET /letters?trigger=search&after=1-a&limit=500")
    assert sent.count(TRIGGER) == 2


def test_a_letter_that_fails_again_at_once_stays(knts: Knts, server: ScriptedServer) -> None:
    kept(server, letter(), dropping=409)
    server.json(TRIGGER, None, 202)
    result = knts("replay", "x")
    assert result.exit_code == 1
    assert "failed again already, so it stays" in result.stderr


def test_a_repeated_replay_finds_nothing_to_do(knts: Knts, server: ScriptedServer) -> None:
    server.json("GET /letters/x", {"detail": "none"}, 404)
    result = knts("replay", "x", "--json")
    assert result.exit_code == 0
    assert orjson.loads(result.stdout)[0]["outcome"] == "gone"
    assert calls(server) == ["GET /letters/x"]


@pytest.mark.parametrize("status", [400, 404, 405, 413])
def test_what_the_broker_refuses_stays(knts: Knts, server: ScriptedServer, status: int) -> None:
    kept(server, letter())
    server.json(TRIGGER, {"detail": "not that"}, status)
    result = knts("replay", "x")
    assert result.exit_code == 1
    assert "not that" in result.stderr
    assert ("--to delivers to the subscriber's address instead" in result.stderr) is (status != 413)
    assert not [call for call in calls(server) if call.startswith("DELETE")]


def test_a_busy_broker_is_asked_again(knts: Knts, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knts.cli.replay.LONGEST_PAUSE", 0.01)
    kept(server, letter())
    server.json(TRIGGER, {"detail": "full"}, 503)
    server.json(TRIGGER, None, 202)
    assert knts("replay", "x").exit_code == 0
    assert calls(server).count(TRIGGER) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trigger": None}, "it does not say which Trigger failed"),
        ({"trigger": "elsewhere/search"}, "it failed in namespace elsewhere"),
        ({"cut": 9}, "9 bytes of its data were too many to keep"),
    ],
)
def test_what_can_not_be_replayed_says_why_and_stays(
    knts: Knts, server: ScriptedServer, changes: dict[str, Any], said: str
) -> None:
    kept(server, letter(**changes))
    result = knts("replay", "x")
    assert result.exit_code == 1
    assert said in result.stderr
    assert calls(server) == ["GET /letters/x"]


def test_without_the_development_broker_a_subscriber_gets_it_and_the_broker_his_reply(
    knts: Knts, server: ScriptedServer
) -> None:
    kept(server, letter(trigger=None))
    reply = {"specversion": "1.0", "id": "2", "source": "/s", "type": "knts.passages.found.v1", "data": {}}
    server.answers["POST /fn"] = [(200, "application/cloudevents+json", orjson.dumps(reply))]
    server.json("POST /default/kn-ts", None, 202)
    assert knts("replay", "x", "--to", f"{server.url}/fn").exit_code == 0
    assert calls(server) == ["GET /letters/x", "POST /fn", "POST /default/kn-ts", "DELETE /letters/x?times=3"]
    [(headers, _)] = server.at("POST /default/kn-ts")
    assert headers["ce-type"] == "knts.passages.found.v1"


def test_a_reply_that_is_lost_keeps_the_letter(knts: Knts, server: ScriptedServer) -> None:
    kept(server, letter())
    server.answers["POST /fn"] = [(200, "text/html", b"<html>")]
    result = knts("replay", "x", "--to", f"{server.url}/fn")
    assert result.exit_code == 1
    assert "answered with what is no event" in result.stderr
    assert calls(server) == ["GET /letters/x", "POST /fn"]


@pytest.mark.parametrize("command", ["replay", "drop"])
@pytest.mark.parametrize("which", [[], ["x", "--all"], ["x", "--type", "t"]])
def test_which_letters_must_be_said_in_one_way(knts: Knts, command: str, which: list[str]) -> None:
    assert knts(command, *which).exit_code == 2


def test_dropping_is_asked_for_once(knts: Knts, server: ScriptedServer) -> None:
    kept(server, letter())
    refused = knts("drop", "x", typed="n\n")
    assert (refused.exit_code, calls(server)) == (1, [])
    agreed = knts("drop", "x", typed="y\n")
    assert (agreed.exit_code, calls(server)) == (0, ["DELETE /letters/x"])
    assert "1 dropped" in agreed.stdout
    assert knts("drop", "x", "--yes").exit_code == 0


def test_dropping_what_is_not_there_is_1(knts: Knts, server: ScriptedServer) -> None:
    server.json("DELETE /letters/y", {"detail": "none"}, 404)
    result = knts("drop", "y", "--yes")
    assert result.exit_code == 1
    assert "there is no dead letter 'y'" in result.stderr


def test_a_wrong_key_names_the_right_setting(knts: Knts, server: ScriptedServer) -> None:
    server.json("GET /letters?limit=50", {"detail": "no"}, 401)
    assert "set KNTS_OPERATOR_KEY to one that it knows" in knts("list").stderr


def test_the_local_run_tells_address_and_key(knts: Knts, server: ScriptedServer, tmp_path: Any) -> None:
    (tmp_path / "run.json").write_bytes(
        orjson.dumps({"functions": {"dead-letter": server.url}, "broker": f"{server.url}/default/kn-ts"})
    )
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "operator-key").write_text("local\n")
    kept(server, letter())
    server.json(TRIGGER, None, 202)
    unset = {"KNTS_DEAD_LETTERS_URL": "", "KNTS_BROKER_URL": "", "KNTS_OPERATOR_KEY": ""}
    assert knts("replay", "x", **unset).exit_code == 0
    assert server.at("GET /letters/x")[0][0]["authorization"] == "Bearer local"


def test_without_an_address_it_says_what_to_give(knts: Knts) -> None:
    result = knts("list", KNTS_DEAD_LETTERS_URL="")
    assert result.exit_code == 1
    assert "give --url, or KNTS_DEAD_LETTERS_URL" in result.stderr

"""The users of the load test, as Locust runs them, and the steps that their number rises by.

Started by tests/load/steps.py, which says in the environment how: KNTS_LOAD_STEPS (numbers of users), KNTS_LOAD_SECONDS
(of a step), KNTS_LOAD_AFTER (seconds of the first step's load again), KNTS_LOAD_RECORD (the file that every call is
written to). Users keep their pace whatever they are answered: who is refused comes back sooner than Retry-After asks,
so that the load past the knee stays what the step says.
"""

import contextlib
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gevent import GreenletExit
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError
from locust import LoadTestShape, User, constant_pacing, task

from tests.load import calls, corpus
from tests.load.calls import CUT, TIMED_OUT, Call, Step

STEPS = [int(users) for users in os.environ["KNTS_LOAD_STEPS"].split(",")]
SECONDS = float(os.environ["KNTS_LOAD_SECONDS"])
AFTER = float(os.environ["KNTS_LOAD_AFTER"])
WAIT = 60.0  # seconds without a byte after which a client gives up: each deadline and each heartbeat is far shorter
MOMENT = 5.0  # seconds for which all listeners ask the same
JSON = {"Content-Type": "application/json", "Accept": "application/json"}
EVENTS = {"Content-Type": "application/json", "Accept": "text/event-stream"}

record = Path(os.environ["KNTS_LOAD_RECORD"]).open("a", buffering=1)  # noqa: SIM115 - open as long as the process


class Steps(LoadTestShape):
    """Each number of users for as long, then the first one again."""

    begun = 0.0

    def tick(self) -> tuple[int, float] | None:
        """Users, and how many more or fewer a second until there are so many; None at the end."""
        if not self.begun:
            self.begun = time.monotonic()
            for step in steps(self.begun):
                record.write(calls.written(step) + "\n")
        now = time.monotonic()
        step = next((step for step in steps(self.begun) if now < step.ended), None)
        most = max(STEPS)  # Locust stops users in batches of its rate and waits for each: so all of them in one
        return (step.users, most if step.after else most / 2) if step else None


def steps(begun: float) -> list[Step]:
    """The steps of a run that began at this moment."""
    rising = [Step(n, users, begun + n * SECONDS, begun + (n + 1) * SECONDS) for n, users in enumerate(STEPS)]
    return [*rising, Step(len(STEPS), STEPS[0], rising[-1].ended, rising[-1].ended + AFTER, after=True)]


class Caller(User):
    """A user with a connection of its own, who notes each call."""

    abstract = True

    def on_start(self) -> None:
        """Open nothing yet."""
        self.chance = random.Random(random.random())
        self.http = self.connection()

    def on_stop(self) -> None:
        """Close the connection."""
        self.http.close()

    def connection(self) -> HTTPClient:
        """A client of the run."""
        return HTTPClient.from_url(self.host, connection_timeout=WAIT, network_timeout=WAIT)

    def call(self, kind: str, method: str, path: str, body: Any = None) -> None:
        """One request and its whole answer."""
        with self.noted(kind) as note:
            response = self.http.request(method, path, json.dumps(body) if body else b"", JSON)
            content = response.read()
            note["result"] = calls.result_of(response.get_code(), retry_after=response.get("retry-after") is not None)
            if kind == calls.REPEATED and note["result"] == "200":
                note["cache"] = json.loads(content)["cache"]

    def listen(self, kind: str, body: dict[str, Any]) -> None:
        """Ask, and follow the stream to its last event."""
        with self.noted(kind) as note, contextlib.closing(self.connection()) as http:
            response = http.request("POST", "/v1/answers", json.dumps(body), EVENTS)
            note["result"] = calls.result_of(response.get_code(), retry_after=response.get("retry-after") is not None)
            if note["result"] == "200":
                last, final = "", {}
                for last, final in events_of(response):  # noqa: B007
                    note["first"] = note["first"] or time.monotonic() - note["began"]
                ended = last in ("completed", "abstained", "failed", "cancelled")
                note["result"] = calls.result_of_stream(last if ended else "", final)

    @contextlib.contextmanager
    def noted(self, kind: str) -> Iterator[dict[str, Any]]:
        """Write down how long it took and what came of it, for us and for Locust."""
        note: dict[str, Any] = {"kind": kind, "began": time.monotonic(), "result": "", "first": None}
        try:
            yield note
        except GreenletExit:
            note["result"] = CUT
            raise
        except TimeoutError:
            note["result"] = TIMED_OUT
        except (OSError, HTTPConnectionClosed, HTTPParseError) as error:
            note["result"] = f"connection failed ({type(error).__name__})"
        finally:
            call = Call(seconds=time.monotonic() - note["began"], **note)
            record.write(calls.written(call) + "\n")
            failed = None if call.result in calls.ANSWERED else RuntimeError(call.result)
            told = {"response_time": call.seconds * 1000, "response_length": 0, "exception": failed, "context": {}}
            self.environment.events.request.fire(request_type="", name=kind, **told)


def events_of(response: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Type and data of the events of a stream; heartbeats are left out."""
    name = ""
    while line := response.readline(b"\n"):
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


class Reader(Caller):
    """Searches, and asks what was asked before; one call a second."""

    weight = 7
    wait_time = constant_pacing(1)

    @task(7)
    def search(self) -> None:
        self.call(calls.SEARCH, "GET", f"/v1/search?q={quote(corpus.query(self.chance))}")

    @task(3)
    def ask_again(self) -> None:
        self.call(calls.REPEATED, "POST", "/v1/answers", {"question": corpus.repeated_question(self.chance)})


class Writer(Caller):
    """Replaces documents; one every 2 seconds."""

    weight = 1
    wait_time = constant_pacing(2)

    @task
    def write(self) -> None:
        document_id, body = corpus.written_document(self.chance)
        self.call(calls.DOCUMENT, "PUT", f"/v1/documents/{quote(document_id, safe='')}", body)


class Asker(Caller):
    """Asks what the model has to write; one every 10 seconds."""

    weight = 1
    wait_time = constant_pacing(10)

    @task
    def ask(self) -> None:
        self.listen(calls.FRESH, {"question": corpus.fresh_question(self.chance), "cache": "off"})


class Listener(Caller):
    """Asks what everybody asks at the moment, and listens to a stream that is silent until the model comes to it."""

    weight = 1
    wait_time = constant_pacing(MOMENT)

    @task
    def listen_along(self) -> None:
        moment = int(time.monotonic() / MOMENT)
        self.listen(calls.LISTEN, {"question": corpus.question_of_the_moment(moment)})

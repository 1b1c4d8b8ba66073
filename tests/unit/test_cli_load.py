"""`knts load`: which files are meant, what is sent, and what the report says of each."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts.cli import load as loading
from knts.cli.errors import Answered, CommandError, NoConnection
from knts.cli.extract import Document, Refused, Section
from knts.cli.files import MAX_DOCUMENT_BYTES, Report, Wishes, body, sources
from knts.cli.load import load


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "FIRST_POLL", 0.001)
    monkeypatch.setattr(loading, "LAST_POLL", 0.002)


class FakeServer:
    """Takes documents; `answers` says by id what comes of each: a status after so many looks, or an error."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.put: dict[str, dict[str, Any]] = {}
        self.looks: dict[str, int] = {}
        self.most_at_once = 0
        self._now = 0

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(0)
        try:
            return self._answer(method, unquote(path.removeprefix("/v1/documents/")), body)
        finally:
            self._now -= 1

    def _answer(self, method: str, name: str, body: Any) -> Any:
        answer = self.answers.get(name.rpartition("/")[2].partition(".")[0], ("indexed", 0))
        if method == "PUT":
            if isinstance(answer, list) and answer:
                raise answer.pop(0)
            self.put[name] = body
            return {"id": name, "version": 2, "event_id": "e"}
        self.looks[name] = self.looks.get(name, 0) + 1
        status, looks = ("indexed", 0) if isinstance(answer, list) else answer
        if self.looks[name] <= looks:
            if self.looks[name] == 1:
                raise Answered("there is no such document", 404)
            return {"id": name, "version": 1, "status": "indexed"}
        return {"id": name, "version": 2, "status": status, "reason": "the version holds another text"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "inner").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for name in ("a.md", "b.txt", "inner/c.md", ".hidden/d.md", ".e.md", "picture.png"):
        (root / name).write_text(f"# {name}\ntext")
    return root


async def run(server: FakeServer, *paths: Path | str, **wishes: Any) -> Report:
    return await load(server, [str(path) for path in paths], Wishes(**wishes))


# -- which files ------------------------------------------------------------------------------------------------------


def test_a_folders_files_are_named_from_the_folder_on(folder: Path) -> None:
    report = Report()
    found = sources([str(folder)], report)
    assert [source.id for source in found] == ["docs/a.md", "docs/b.txt", "docs/inner/c.md"]
    assert (report.skipped, report.refused) == (1, [])


def test_files_and_patterns_are_named_by_themselves_and_taken_once(folder: Path) -> None:
    found = sources([str(folder / "inner" / "c.md"), str(folder / "**" / "*.md")], Report())
    assert [source.id for source in found] == ["c.md", "a.md"]


def test_a_path_that_leads_nowhere_is_refused(folder: Path) -> None:
    report = Report()
    assert sources([str(folder / "nothing*"), "/no/such/file.md"], report) == []
    assert [item["error"] for item in report.refused] == ["there is no such file or folder"] * 2


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_the_command_lines_additions_go_into_each_document() -> None:
    document = Document(
        "a", "A", "text", (Section(0, 4, "s"),), {"by": "W", "kind": "old"}, {"tags": ["x"], "lang": "en"}
    )
    wishes = Wishes(prefix="p/", tags=("x", "y"), acl=("g",), metadata={"kind": "new"})
    assert body(document, wishes) == (
        "p/a",
        {
            "title": "A",
            "text": "text",
            "lang": "en",
            "tags": ["x", "y"],
            "acl": ["g"],
            "metadata": {"by": "W", "kind": "new"},
            "sections": [{"start": 0, "end": 4, "title": "s"}],
        },
    )


@pytest.mark.parametrize(("size", "taken"), [(MAX_DOCUMENT_BYTES - 100, True), (MAX_DOCUMENT_BYTES + 1, False)])
def test_a_document_that_no_event_can_carry_is_refused(size: int, taken: bool) -> None:
    document = Document("a", "A", "x" * size)
    if taken:
        assert body(document, Wishes())[1]["text"] == document.text
    else:
        with pytest.raises(Refused, match=r"is 89\d KiB as an event; at most 896 KiB are"):
            body(document, Wishes())


# -- what becomes of it -----------------------------------------------------------------------------------------------


async def test_everything_is_sent_and_followed_until_it_is_indexed(folder: Path) -> None:
    server = FakeServer(a=("indexed", 4), b=("indexed", 1))
    report = await run(server, folder, prefix="p/")
    assert (report.found, report.sent, report.indexed, report.refused, report.pending) == (3, 3, 3, [], [])
    assert report.ok
    assert sorted(server.put) == ["p/docs/a.md", "p/docs/b.txt", "p/docs/inner/c.md"]
    assert server.looks["p/docs/a.md"] == 5


async def test_without_waiting_nothing_is_looked_up(folder: Path) -> None:
    server = FakeServer()
    report = await run(server, folder, wait=False)
    assert (report.sent, report.indexed, server.looks, report.ok) == (3, 0, {}, True)


async def test_what_is_refused_is_told_with_its_reason_and_the_rest_goes_on(folder: Path) -> None:
    (folder / "bad.md").write_bytes(b"\xff")
    server = FakeServer(a=[Answered("text: is too long", 400)], b=("rejected", 0), c=("removed", 0))
    report = await run(server, folder)
    told = {item["id"]: item["error"] for item in report.refused}
    assert told == {
        "docs/a.md": "text: is too long",
        "docs/bad.md": "not UTF-8 (byte 0xff at position 0)",
        "docs/b.txt": "the version holds another text",
        "docs/inner/c.md": "was removed meanwhile",
    }
    assert (report.sent, report.indexed, report.ok) == (2, 0, False)


async def test_a_busy_server_is_asked_again(folder: Path) -> None:
    server = FakeServer(a=[Answered("busy", 429, 0.001), Answered("later", 503, 0.001)])
    report = await run(server, folder / "a.md")
    assert (report.indexed, report.refused) == (1, [])


async def test_a_server_that_is_not_there_ends_the_load(folder: Path) -> None:
    with pytest.raises(NoConnection, match="gone"):
        await run(FakeServer(a=[NoConnection("gone")]), folder)


async def test_a_server_that_fails_while_it_is_asked_ends_the_load(folder: Path) -> None:
    class FailingServer(FakeServer):
        def _answer(self, method: str, name: str, body: Any) -> Any:
            if method == "GET":
                raise Answered("a bug", 500)
            return super()._answer(method, name, body)

    with pytest.raises(CommandError, match="a bug"):
        await run(FailingServer(), folder)


async def test_what_does_not_come_is_pending_when_patience_ends(folder: Path) -> None:
    server = FakeServer(a=("indexed", 10**9))
    report = await run(server, folder / "a.md", patience=0.02)
    assert (report.sent, report.indexed, report.pending, report.ok) == (1, 0, ["a.md"], False)


async def test_only_so_many_requests_run_at_once(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text("".join(f'{{"id": "d{number}", "text": "x"}}\n' for number in range(100)))
    server = FakeServer()
    report = await run(server, path, concurrency=3)
    assert report.indexed == 100
    assert server.most_at_once <= 6  # three that send, three that follow


@given(st.lists(st.sampled_from(["good", "broken", "refused", "rejected"]), max_size=12))
def test_every_document_is_accounted_for(kinds: list[str]) -> None:
    lines = {
        "good": lambda n: f'{{"id": "good{n}", "text": "x"}}',
        "broken": lambda _: "{",
        "refused": lambda n: f'{{"id": "refused{n}", "text": "x"}}',
        "rejected": lambda n: f'{{"id": "rejected{n}", "text": "x"}}',
    }
    answers: dict[str, Any] = {}
    for number in range(len(kinds)):
        answers[f"refused{number}"] = [Answered("no", 400)]
        answers[f"rejected{number}"] = ("rejected", 0)
    report = in_a_file("\n".join(lines[kind](number) for number, kind in enumerate(kinds)), FakeServer(**answers))
    empty = not kinds
    assert report.indexed == kinds.count("good")
    assert len(report.refused) == len(kinds) - kinds.count("good") + empty
    assert report.sent == kinds.count("good") + kinds.count("rejected")


def in_a_file(text: str, server: FakeServer) -> Report:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "all.jsonl"
        path.write_text(text)
        return asyncio.run(run(server, path))


async def test_progress_is_told_as_it_happens(folder: Path) -> None:
    heard: list[tuple[int, int]] = []
    tell: Callable[[Report], None] = lambda report: heard.append((report.sent, report.indexed))  # noqa: E731
    await load(FakeServer(), [str(folder)], Wishes(), tell)
    assert heard == sorted(heard)
    assert heard[-1] == (3, 3)

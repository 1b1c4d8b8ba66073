"""The page over HTTP: what every route answers, with htmx and without, and what it never lets through."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request

from functions.ingress.access import Principal
from functions.ingress.web.page import routes
from knts.channel import Position
from knts.errors import DeadlineExceeded, Gone, KntsError, Temporary, Unauthorized
from tests.e2e.page_ingress import LOCAL, ScriptedIngress, citation, passage, tell

HX = {"hx-request": "true"}
KEY = "a-key-that-is-known"


@pytest.fixture
def ingress() -> ScriptedIngress:
    return ScriptedIngress()


def client_of(ingress: Any, principal_of: Callable[[Request], Principal] = lambda _: LOCAL) -> httpx.AsyncClient:
    app = Starlette(routes=routes(ingress, principal_of))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page.test")


@pytest_asyncio.fixture
async def page(ingress: ScriptedIngress) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(ingress) as client:
        yield client


def keyed(request: Request) -> Principal:
    """A gate with one key, as bearer or cookie."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ") or request.cookies.get("knts_key")
    if given != KEY:
        raise Unauthorized("no key, or one that is not known")
    return LOCAL


async def test_every_page_forbids_all_but_its_own_files(page: httpx.AsyncClient) -> None:
    for path in ("/", "/?q=rotten", "/ui/search?q=rotten", "/ui/document?id=nothing"):
        response = await page.get(path)

        assert response.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?![^>]*src=)|\sstyle=|<style|\son\w+=|javascript:", response.text)


async def test_the_start_says_what_there_is_to_search(page: httpx.AsyncClient, ingress: ScriptedIngress) -> None:
    response = await page.get("/")

    assert response.status_code == 200
    assert "12 passages to search" in response.text
    assert "filter.play=Hamlet" in response.text
    assert 'class="hit"' not in response.text


async def test_without_documents_the_page_says_how_to_load_some() -> None:
    async with client_of(ScriptedIngress([])) as client:
        for path in ("/", "/?q=anything"):
            shown = (await client.get(path)).text

            assert "No documents yet" in shown
            assert "knts load" in shown
            assert "http://page.test/v1/documents/hello" in shown


async def test_a_search_without_scripts_is_a_whole_page(page: httpx.AsyncClient) -> None:
    response = await page.get("/?q=rotten")

    assert "<!doctype html>" in response.text
    assert "Something is <mark>rotten</mark> in the state" in response.text
    assert 'value="rotten"' in response.text


async def test_a_search_as_you_type_is_a_fragment_that_names_its_address(page: httpx.AsyncClient) -> None:
    response = await page.get("/ui/search?q=rotten", headers=HX)

    assert "<!doctype" not in response.text
    assert "<mark>rotten</mark>" in response.text
    assert response.headers["hx-replace-url"] == "/?q=rotten"
    assert '<div id="announce-hits" hx-swap-oob="innerHTML">1 passage in 2 ms</div>' in response.text


async def test_typing_on_keeps_the_answer_in_the_address(page: httpx.AsyncClient) -> None:
    shown = {**HX, "hx-current-url": f"http://page.test/?q=old&answer={'a' * 32}"}

    response = await page.get("/ui/search?q=rotten", headers=shown)

    assert response.headers["hx-replace-url"] == f"/?q=rotten&answer={'a' * 32}"


async def test_facets_are_learned_from_the_hits_and_asked_for_at_once_from_then_on(
    page: httpx.AsyncClient, ingress: ScriptedIngress
) -> None:
    await page.get("/ui/search?q=to")
    await page.get("/ui/search?q=to")

    asked = [search["facets"] for search in ingress.searches]
    assert asked == [[], ["play", "act", "speaker"], ["play", "act", "speaker"]]
    assert [search["query"] for search in ingress.searches] == ["", "to", "to"]


async def test_a_filter_narrows_and_is_a_chip_that_takes_it_away(page: httpx.AsyncClient) -> None:
    shown = (await page.get("/ui/search?q=to&filter.play=Macbeth")).text

    assert "Hamlet, Act 3" not in shown
    assert "Macbeth, Act 2" in shown
    assert 'href="/?q=to" hx-get="/ui/search?q=to"' in shown
    assert '<input type="hidden" form="ask" name="filter.play" value="Macbeth">' in shown


async def test_more_hits_follow_the_first(page: httpx.AsyncClient) -> None:
    first = (await page.get("/ui/search?filter.play=&q=e")).text
    link = re.search(r'hx-get="(/ui/search/more[^"]*)"', first)
    assert link

    rest = (await page.get(link[1].replace("&amp;", "&"), headers=HX)).text

    assert first.count('class="hit"') == 10
    assert rest.count('class="hit"') == 2
    assert "More results" not in rest


async def test_documents_can_not_bring_markup(page: httpx.AsyncClient) -> None:
    shown = (await page.get("/ui/search?q=kingdom")).text

    assert "&lt;b&gt;not markup&lt;/b&gt; &amp; so on" in shown


NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


async def test_no_text_of_anybody_becomes_markup() -> None:
    """Every text that documents, models, askers and failures bring, in every place where it is shown."""
    document = {
        **ScriptedIngress().documents[0],
        "document_id": NASTY,
        "title": NASTY,
        "section": NASTY,
        "url": f"https://x.test/{NASTY}",
        "metadata": {NASTY: NASTY, "other": "x"},
        "text": f"to {NASTY}",
    }
    ingress = ScriptedIngress([document, {**document, "metadata": {"other": "y"}}])
    ask_id = await ingress.ask(LOCAL, {"question": NASTY}, listening=True)
    await ingress.say(ask_id, "passages", {"passages": [passage(document)]})
    await ingress.say(ask_id, "delta", {"text": NASTY})
    cited = [citation(document, NASTY, NASTY, NASTY)]
    told = {"answer": NASTY, "citations": cited, "passages": [passage(document)], "model": NASTY, "reason": NASTY}
    filters = {"q": "to", f"filter.{NASTY}": NASTY}
    async with client_of(ingress) as client:
        shown = [(await client.get("/", params={**filters, "answer": ask_id})).text]
        await ingress.say(ask_id, "completed", told)
        for path, params in (
            ("/", {"q": NASTY}),
            ("/", {**filters, "answer": ask_id}),
            ("/ui/search", filters),
            ("/ui/document", {"id": NASTY, "start": "3", "end": "9"}),
            (f"/ui/answers/{ask_id}/events", {}),
        ):
            shown.append((await client.get(path, params=params)).text)
        ended = await ingress.ask(LOCAL, {"question": NASTY}, listening=True)
        await ingress.say(ended, "failed", {"problem": {"detail": NASTY, "title": NASTY}})
        shown.append((await client.get("/", params={"answer": ended})).text)
        ingress.failure = Temporary(NASTY)
        shown.append((await client.get("/")).text)

    assert all("alert(1)" in html for html in shown)
    assert not [html for html in shown if re.search(r"<script>|<img src=x|\"'>", html)]


@pytest.mark.parametrize(
    ("failure", "status"),
    [(Temporary("Typesense does not answer", retry_after=1), 503), (DeadlineExceeded("nothing came"), 504)],
)
async def test_a_search_that_fails_says_so_in_the_place_of_the_hits(
    page: httpx.AsyncClient, ingress: ScriptedIngress, failure: KntsError, status: int
) -> None:
    ingress.failure = failure

    response = await page.get("/ui/search?q=x", headers={**HX, "hx-target": "results"})
    whole = await page.get("/?q=x")

    assert response.status_code == whole.status_code == status
    assert response.text.startswith('<section id="results"')
    assert failure.detail in response.text
    assert "<!doctype html>" in whole.text
    assert 'href="/?q=x">Try again' in whole.text


async def test_a_bug_is_a_page_without_its_insides(page: httpx.AsyncClient, ingress: ScriptedIngress) -> None:
    ingress.failure = RuntimeError("secret insides")  # type: ignore[assignment]

    response = await page.get("/?q=x")

    assert response.status_code == 500
    assert "secret" not in response.text


async def test_asking_without_scripts_goes_to_the_answers_address(
    page: httpx.AsyncClient, ingress: ScriptedIngress
) -> None:
    response = await page.post("/ui/answers", data={"q": "To be?", "filter.play": "Hamlet"})

    (ask_id,) = ingress.asks
    assert response.status_code == 303
    asked = ingress.asks[ask_id].request
    own = asked.pop("conversation_id")
    assert re.fullmatch("[0-9a-f]{32}", own)
    assert response.headers["location"] == f"/?q=To+be%3F&filter.play=Hamlet&answer={ask_id}&conversation={own}"
    assert asked == {"question": "To be?", "filters": {"play": "Hamlet"}, "cache": "use"}
    waiting = (await page.get(response.headers["location"])).text
    assert f'sse-connect="/ui/answers/{ask_id}/events?conversation={own}"' in waiting
    assert '<meta http-equiv="refresh" content="2">' in waiting


async def test_asking_with_htmx_gives_the_running_answer_and_its_address(
    page: httpx.AsyncClient, ingress: ScriptedIngress
) -> None:
    response = await page.post("/ui/answers", data={"q": "<To be>?", "cache": "refresh"}, headers=HX)

    (ask_id,) = ingress.asks
    own = ingress.asks[ask_id].request["conversation_id"]
    assert response.headers["hx-push-url"] == f"/?q=%3CTo+be%3E%3F&answer={ask_id}&conversation={own}"
    assert "&lt;To be&gt;?" in response.text
    assert ingress.asks[ask_id].request["cache"] == "refresh"


async def test_each_question_of_the_search_field_begins_a_conversation_and_a_follow_up_goes_on_with_it(
    page: httpx.AsyncClient, ingress: ScriptedIngress
) -> None:
    first = await page.post("/ui/answers", data={"q": "To be?", "filter.play": "Hamlet"})
    (first_id,) = ingress.asks
    own = ingress.asks[first_id].request["conversation_id"]
    await tell(ingress, first_id)
    shown = (await page.get(first.headers["location"])).text
    assert f'<input type="hidden" name="conversation" value="{own}">' in shown
    assert '<label for="next">Follow-up question</label>' in shown
    assert '<a href="/">New conversation</a>' in shown
    assert "Other questions" not in shown

    named = {"q": "To be?", "filter.play": "Hamlet", "conversation": own, "question": "Who <said> it?"}
    second = await page.post("/ui/answers", data=named, headers=HX)
    second_id = list(ingress.asks)[-1]
    asked = ingress.asks[second_id].request
    assert (asked["question"], asked["conversation_id"], asked["filters"]) == (
        "Who <said> it?", own, {"play": "Hamlet"})  # fmt: skip
    here = f"/?q=To+be%3F&filter.play=Hamlet&answer={second_id}&conversation={own}"
    assert second.headers["hx-push-url"] == here
    await ingress.say(second_id, "completed", {"answer": "He.", "standalone_question": "Who <said> it? (be)"})
    streamed = (await page.get(f"/ui/answers/{second_id}/events?conversation={own}")).text
    back = f'<a href="/?q=To+be%3F&amp;filter.play=Hamlet&amp;answer={first_id}&amp;conversation={own}">To be?</a>'
    for text in (streamed, (await page.get(here)).text):
        assert '<h2 id="asked" tabindex="-1">Who &lt;said&gt; it?</h2>' in text
        assert "Asked as <q>Who &lt;said&gt; it? (be)</q>" in text
    assert back in (await page.get(here)).text
    await page.post("/ui/answers", data={"q": "Something else?"})
    assert ingress.asks[list(ingress.asks)[-1]].request["conversation_id"] != own


async def test_an_answer_to_another_wording_says_to_which(page: httpx.AsyncClient, ingress: ScriptedIngress) -> None:
    await page.post("/ui/answers", data={"q": "To be?"})
    (ask_id,) = ingress.asks
    await ingress.say(ask_id, "completed", {"answer": "He.", "cache": "semantic", "answered_question": "Is it <so>?"})
    shown = (await page.get(f"/?q=To+be%3F&answer={ask_id}")).text
    assert "Answered before, as <q>Is it &lt;so&gt;?</q>" in shown
    assert '<span class="badge">from the cache, asked in other words</span>' in shown


async def test_a_running_follow_up_is_shown_with_its_own_question_after_a_reload(
    page: httpx.AsyncClient, ingress: ScriptedIngress
) -> None:
    own = "c" * 32
    for question in ("To be?", "Who said it?"):
        await ingress.ask(LOCAL, {"question": question, "conversation_id": own}, listening=True)
    shown = (await page.get(f"/?q=To+be%3F&answer={list(ingress.asks)[-1]}&conversation={own}")).text
    assert '<h2 id="asked" tabindex="-1" autofocus>Who said it?</h2>' in shown
    assert ">To be?</a>" in shown


async def test_a_conversation_that_is_gone_leaves_its_answers(
    page: httpx.AsyncClient, ingress: ScriptedIngress
) -> None:
    ask_id = await ingress.ask(LOCAL, {"question": "To be?"}, listening=True)
    await tell(ingress, ask_id)
    shown = await page.get(f"/?q=To+be&answer={ask_id}&conversation={'d' * 32}")
    assert (shown.status_code, "Other questions" in shown.text) == (200, False)


async def test_asking_nothing_asks_nothing(page: httpx.AsyncClient, ingress: ScriptedIngress) -> None:
    for nothing in ({"q": "  "}, {"q": "To be?", "conversation": "c" * 32, "question": " "}):
        response = await page.post("/ui/answers", data=nothing)

        assert response.status_code == 303
        assert not ingress.asks


async def test_the_stream_ends_with_the_answer_and_what_it_cites(
    page: httpx.AsyncClient, ingress: ScriptedIngress
) -> None:
    ask_id = await ingress.ask(LOCAL, {"question": "To be?"}, listening=True)
    final = await tell(ingress, ask_id)

    streamed = await page.get(f"/ui/answers/{ask_id}/events")
    reloaded = await page.get(f"/?q=To+be&answer={ask_id}")

    assert streamed.headers["content-type"].startswith("text/event-stream")
    for shown in (streamed.text, reloaded.text):
        assert '<span class="cited">to be or not to be</span>' in shown
        assert 'popovertarget="citation-1" aria-label="Source 1: Hamlet, Act 3">[1]</button>.</span>' in shown
        assert '</span> <span class="doubted">🎭 He weighs' in shown
        assert "<mark>To be, or not to be</mark>, that is" in shown
        assert "&lt;against&gt;" in shown
    told = "The answer, with 2 sources, and 1 sentence that no passage supports: "
    assert told + final["answer"].split("<")[0] in streamed.text


async def test_a_stream_is_taken_up_where_the_browser_was(page: httpx.AsyncClient, ingress: ScriptedIngress) -> None:
    ask_id = await ingress.ask(LOCAL, {"question": "To be?"}, listening=True)
    await tell(ingress, ask_id)
    whole = (await page.get(f"/ui/answers/{ask_id}/events")).text
    reached = Position("9").token()

    rest = await page.get(f"/ui/answers/{ask_id}/events", headers={"last-event-id": reached})
    from_the_start = await page.get(f"/ui/answers/{ask_id}/events", headers={"last-event-id": "no position"})

    assert "event: reset" not in rest.text
    after = whole.split(f"id: {reached}\n")[1].split("\n\n", 1)[1]
    assert rest.text.replace("event: status\ndata: Writing …\n\n", "").endswith(after)
    assert "event: reset" in from_the_start.text


@pytest.mark.parametrize(
    ("status", "data", "shown"),
    [
        ("abstained", {"reason": "No passage says it.", "passages": []}, "The documents don’t answer this."),
        ("failed", {"problem": {"detail": "Ollama is <down>"}}, "Ollama is &lt;down&gt;"),
        ("cancelled", {"answer": "Half an"}, '<div class="words faded">Half an</div>'),
    ],
)
async def test_other_endings_say_what_happened_and_offer_another_try(
    page: httpx.AsyncClient, ingress: ScriptedIngress, status: str, data: dict[str, Any], shown: str
) -> None:
    ask_id = await ingress.ask(LOCAL, {"question": "Why?"}, listening=True)
    await ingress.say(ask_id, status, data)

    response = await page.get(f"/?q=Why%3F&answer={ask_id}")

    assert shown in response.text
    assert "Try again" in response.text


async def test_an_abstention_shows_what_came_nearest(page: httpx.AsyncClient, ingress: ScriptedIngress) -> None:
    ask_id = await ingress.ask(LOCAL, {"question": "Why?"}, listening=True)
    await ingress.say(ask_id, "abstained", {"passages": [passage(ingress.documents[4])]})

    assert "Macbeth, Act 5" in (await page.get(f"/?answer={ask_id}")).text


async def test_an_answer_without_citations_owns_up_to_it(page: httpx.AsyncClient, ingress: ScriptedIngress) -> None:
    ask_id = await ingress.ask(LOCAL, {"question": "Why?"}, listening=True)
    read = [passage(ingress.documents[4])]
    await ingress.say(ask_id, "completed", {"answer": "So.", "citations": [], "passages": read})

    shown = (await page.get(f"/?answer={ask_id}")).text

    assert "None of it could be tied to a passage" in shown
    assert "What was read" in shown
    assert "Macbeth, Act 5" in shown


async def test_an_answer_from_the_cache_says_so(page: httpx.AsyncClient, ingress: ScriptedIngress) -> None:
    ask_id = await ingress.ask(LOCAL, {"question": "To be?"}, listening=True)
    await ingress.say(ask_id, "completed", {"answer": "Yes.", "citations": [], "passages": [], "cache": "hit"})

    assert '<span class="badge">from the cache</span>' in (await page.get(f"/?answer={ask_id}")).text


class ForgetfulIngress(ScriptedIngress):
    """Its answers have expired."""

    async def answer(self, who: Principal, ask_id: str) -> dict[str, Any] | None:
        raise Gone("the answer has expired")


async def test_expired_and_unknown_answers_say_so(page: httpx.AsyncClient) -> None:
    async with client_of(ForgetfulIngress()) as client:
        assert "This answer has expired." in (await client.get(f"/?q=Why&answer={'a' * 32}")).text
    assert "There is no such answer here." in (await page.get(f"/?answer={'a' * 32}")).text


async def test_stopping_ends_the_answer_and_shows_what_there_was(
    page: httpx.AsyncClient, ingress: ScriptedIngress
) -> None:
    ask_id = await ingress.ask(LOCAL, {"question": "Why?"}, listening=True)
    await ingress.say(ask_id, "delta", {"text": "Because of"})

    with_htmx = await page.post(f"/ui/answers/{ask_id}/cancel", headers=HX)
    plain = await page.post(f"/ui/answers/{ask_id}/cancel", headers={"referer": "http://page.test/?q=Why"})
    streamed = await page.get(f"/ui/answers/{ask_id}/events")

    assert with_htmx.status_code == 204
    assert plain.headers["location"] == f"/?q=Why&answer={ask_id}"
    assert "Stopped." in streamed.text
    assert '<div class="words faded">Because of</div>' in streamed.text


async def test_other_sites_can_not_send_our_forms(page: httpx.AsyncClient, ingress: ScriptedIngress) -> None:
    foreign = {"origin": "https://elsewhere.test"}
    for path in ("/ui/answers", f"/ui/answers/{'a' * 32}/cancel", "/ui/session", "/ui/session/end"):
        assert (await page.post(path, data={"q": "x"}, headers=foreign)).status_code == 403
    assert not ingress.asks
    assert (await page.post("/ui/answers", data={"q": "x"}, headers={"origin": "http://page.test"})).status_code == 303
    behind_a_gateway = {"origin": "https://public.test", "sec-fetch-site": "same-origin"}
    assert (await page.post("/ui/answers", data={"q": "x"}, headers=behind_a_gateway)).status_code == 303


async def test_a_document_opens_at_its_passage(page: httpx.AsyncClient) -> None:
    response = await page.get("/ui/document?id=plays%2Fhamlet%2F2&start=13&end=19")

    assert 'Something is <mark id="passage">rotten</mark> in the state of Denmark.' in response.text


async def test_an_unknown_document_is_a_404_page(page: httpx.AsyncClient) -> None:
    response = await page.get("/ui/document?id=nothing")

    assert response.status_code == 404
    assert "no such document" in response.text


async def test_a_key_is_asked_for_taken_and_forgotten() -> None:
    async with client_of(ScriptedIngress(), keyed) as client:
        asked = await client.get("/?q=rotten")
        refused = await client.post("/ui/session", data={"key": "wrong", "next": "/?q=rotten"})
        taken = await client.post("/ui/session", data={"key": f" {KEY} ", "next": "/?q=rotten"})
        shown = await client.get(taken.headers["location"])
        left = await client.post("/ui/session/end")

        assert (asked.status_code, refused.status_code, taken.status_code) == (401, 401, 303)
        assert 'name="next" value="/?q=rotten"' in asked.text
        assert "That key is not known here." in refused.text
        assert KEY not in refused.text
        cookie = taken.headers["set-cookie"]
        assert cookie.startswith(f"knts_key={KEY}; ")
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert "<mark>rotten</mark>" in shown.text
        assert "Sign out" in shown.text
        assert 'knts_key=""' in left.headers["set-cookie"]


async def test_a_fragment_without_a_key_makes_htmx_load_the_page() -> None:
    async with client_of(ScriptedIngress(), keyed) as client:
        response = await client.get("/ui/search?q=x", headers=HX)

        assert response.status_code == 401
        assert response.headers["hx-refresh"] == "true"


@pytest.mark.parametrize("following", ["//evil.test", "/\\evil.test", "https://evil.test", "javascript:x", "/a\nb", ""])
async def test_signing_in_leads_nowhere_else(following: str) -> None:
    async with client_of(ScriptedIngress(), keyed) as client:
        taken = await client.post("/ui/session", data={"key": KEY, "next": following})

        assert taken.headers["location"] == "/"


async def test_a_form_that_is_too_large_is_refused(page: httpx.AsyncClient) -> None:
    assert (await page.post("/ui/answers", content=b"q=" + b"x" * 70_000)).status_code == 413


async def test_static_files_are_kept_for_good_under_their_content(page: httpx.AsyncClient) -> None:
    start = (await page.get("/")).text
    for name, kind in (("page.css", "text/css"), ("htmx.js", "text/javascript"), ("htmx-sse.js", "text/javascript")):
        path = re.search(rf'"(/ui/static/[0-9a-f]+/{name})"', start)
        assert path
        response = await page.get(path[1])

        assert response.headers["content-type"].startswith(kind)
        assert "immutable" in response.headers["cache-control"]
        again = await page.get(path[1], headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        plain = await page.get(path[1], headers={"accept-encoding": "identity"})
        assert plain.content == response.content
        assert response.headers["content-encoding"] == "gzip"


async def test_a_static_file_under_another_digest_or_name_is_not_there(page: httpx.AsyncClient) -> None:
    for path in ("/ui/static/0000000000000000/page.css", "/ui/static/x/../page.py", "/ui/static/x/%2e%2e%2fpage.py"):
        assert (await page.get(path)).status_code == 404

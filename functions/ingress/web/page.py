"""The page's routes: search as you type, ask, follow the answer, stop it, open what it cites, sign in and out.

Everything works as plain links and forms; with htmx the same addresses, as fragments, replace parts of it.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from functions.ingress.access import Principal
from functions.ingress.web import address, answers, assets, documents, finding, headers, hits, session, stream
from functions.ingress.web.address import Address
from functions.ingress.web.templates import Templates
from knts.channel import Position, position
from knts.errors import Gone, KntsError, NotFound, Unauthorized
from knts.runtime import read_body

log = logging.getLogger(__name__)

MAX_FORM = 64 * 1024  # bytes
FORM_SECONDS = 10.0
FRAGMENTS = frozenset({"results", "answer"})  # the elements that a fragment may replace


class Ingress(Protocol):
    """What the page asks of ingress; the words are those of `functions.ingress.handler.Ingress`."""

    async def search(self, who: Principal, query: dict[str, Any]) -> dict[str, Any]: ...

    async def ask(self, who: Principal, request: dict[str, Any], *, listening: bool) -> str: ...

    def follow(
        self, who: Principal, ask_id: str, after: Position, *, heartbeat: float | None = None
    ) -> stream.Frames: ...

    async def answer(self, who: Principal, ask_id: str) -> dict[str, Any] | None: ...

    async def cancel(self, who: Principal, ask_id: str) -> None: ...

    async def conversation(self, who: Principal, conversation_id: str) -> dict[str, Any]: ...

    async def document(self, who: Principal, document_id: str, *, text: bool = False) -> dict[str, Any]: ...


PrincipalOf = Callable[[Request], Principal]
Handler = Callable[["Page", Request], Awaitable[Response]]


def guarded(handler: Handler) -> Handler:
    """Give every failure of a handler its page: the key's form, or what went wrong and how to go on."""

    @wraps(handler)
    async def answering(page: "Page", request: Request) -> Response:
        try:
            return await handler(page, request)
        except Unauthorized:
            return page.key_wanted(request)
        except KntsError as error:
            return page.problem(request, error)
        except Exception:
            log.exception("a bug in the page")
            return page.problem(request, KntsError("unexpected failure; the log has it"))

    return answering


@dataclass
class Page:
    """The page over one ingress."""

    ingress: Ingress
    principal_of: PrincipalOf
    heartbeat: float
    templates: Templates
    keys: finding.FacetKeys = field(default_factory=finding.FacetKeys)

    @guarded
    async def home(self, request: Request) -> Response:
        """The whole page at its address."""
        who, here = self.principal_of(request), address.parse(address.pairs(request.url.query))
        shown = await self._answer_there(who, here)
        results = await finding.find(self.ingress, who, here, self.keys)
        return self.templates.response("page.html", request, results=results, **shown)

    async def _answer_there(self, who: Principal, here: Address) -> dict[str, Any]:
        """Which part of the page shows the address's answer, with what it needs."""
        if not here.answer:
            return {"address": here, "answer_template": "", "running": False}
        try:
            final = await self.ingress.answer(who, here.answer)
        except (Gone, NotFound) as error:
            final = {**stream.ended(error), "question": here.query}
        turns = await self._turns(who, here)
        if final is None:
            question = next((turn["question"] for turn in turns if turn["id"] == here.answer), here.query)
            return {**running(here, question, turns), "answer_template": "_running.html", "running": True}
        shown = {"answer": answers.answer(final), "announce": "", "address": here, "earlier": earlier(here, turns)}
        return {**shown, "answer_template": "_final.html", "running": False}

    async def _turns(self, who: Principal, here: Address) -> list[dict[str, Any]]:
        """The turns of the address's conversation; none of one that has expired or was forgotten."""
        if not here.conversation:
            return []
        try:
            turns: list[dict[str, Any]] = (await self.ingress.conversation(who, here.conversation))["turns"]
        except NotFound:
            return []
        return turns

    @guarded
    async def results(self, request: Request) -> Response:
        """The hits of what was typed or chosen, and its address for the browser's bar."""
        here = address.parse(address.pairs(request.url.query)).at(0).beside(current(request))
        results = await finding.find(self.ingress, self.principal_of(request), here, self.keys)
        said = hits.tally(results)
        html = self.templates.fragment("_results_swap.html", request, results=results, announce=said)
        return Response(html, headers={**headers.PAGE, "hx-replace-url": here.url()}, media_type="text/html")

    @guarded
    async def more(self, request: Request) -> Response:
        """The next hits, which take the place of the link that asked for them."""
        here = address.parse(address.pairs(request.url.query))
        results = await finding.find(self.ingress, self.principal_of(request), here, self.keys)
        return self.templates.response("_hits.html", request, results=results)

    @guarded
    async def ask(self, request: Request) -> Response:
        """Ask; the running answer comes back at once, under an address of its own.

        A follow-up question brings its conversation along and leaves the search as it is; any other begins one.
        """
        headers.same_origin(request)
        who, named = self.principal_of(request), await form(request)
        here = address.parse(named)
        question = (address.followup(named) if here.conversation else here.query).strip()
        if not question:
            return RedirectResponse(here.url(), status_code=303, headers=dict(headers.PAGE))
        cache = "refresh" if ("cache", "refresh") in named else "use"
        turns = await self._turns(who, here)
        here = here.within(here.conversation or secrets.token_hex(16))
        asked = {"question": question, "filters": here.filter_values(), "cache": cache}
        ask_id = await self.ingress.ask(who, {**asked, "conversation_id": here.conversation}, listening=True)
        here = here.showing(ask_id)
        if "hx-request" not in request.headers:
            return RedirectResponse(here.url(), status_code=303, headers=dict(headers.PAGE))
        html = self.templates.fragment("_running.html", request, **running(here, question, turns))
        return Response(html, headers={**headers.PAGE, "hx-push-url": here.url()}, media_type="text/html")

    @guarded
    async def events(self, request: Request) -> Response:
        """The answer as it is written, as fragments; after a break from `Last-Event-ID` on."""
        who, ask_id = self.principal_of(request), request.path_params["id"]
        after = reached(request.headers.get("last-event-id", ""))
        frames = self.ingress.follow(who, ask_id, after, heartbeat=self.heartbeat)
        here = current(request).within(address.parse(address.pairs(request.url.query)).conversation).showing(ask_id)
        turns = earlier(here, await self._turns(who, here))
        fragments = stream.Fragments(
            final=lambda final: self.templates.final(request, here, final, turns),
            reading=lambda sources: self.templates.fragment("_reading.html", request, sources=sources),
        )
        body = stream.events(frames, fragments, from_start=after == Position())
        return stream.EventStream(body, headers.PAGE)

    @guarded
    async def cancel(self, request: Request) -> Response:
        """Stop an answer; its stream then ends with what there was of it."""
        headers.same_origin(request)
        who, ask_id = self.principal_of(request), request.path_params["id"]
        await self.ingress.cancel(who, ask_id)
        if "hx-request" in request.headers:
            return Response(status_code=204, headers=dict(headers.PAGE))
        here = current(request).showing(ask_id)
        return RedirectResponse(here.url(), status_code=303, headers=dict(headers.PAGE))

    @guarded
    async def document(self, request: Request) -> Response:
        """A document around the passage that a link names."""
        who, place = self.principal_of(request), documents.place(request.query_params)
        found = await self.ingress.document(who, place.document_id, text=True)
        return self.templates.response("document.html", request, document=documents.around(found, place))

    @guarded
    async def sign_in(self, request: Request) -> Response:
        """Take a key, if it is known, into a cookie that no script can read."""
        headers.same_origin(request)
        named = dict(await form(request))
        key, following = named.get("key", "").strip(), session.local(named.get("next", "/"))
        try:
            self.principal_of(session.with_key(request, key))
        except Unauthorized:
            return self.key_wanted(request, wrong=True, following=following)
        return session.opened(key, following, secure=request.url.scheme == "https")

    @guarded
    async def sign_out(self, request: Request) -> Response:
        """Forget the key."""
        headers.same_origin(request)
        return session.closed()

    @guarded
    async def static(self, request: Request) -> Response:
        """One of the page's own files."""
        response = assets.respond(request, self.templates.assets)
        response.headers.update(headers.SECURITY)
        return response

    def key_wanted(self, request: Request, *, wrong: bool = False, following: str = "") -> Response:
        """The form that asks for a key; htmx is told to load it as a page."""
        if "hx-request" in request.headers:
            return Response(status_code=401, headers={**headers.PAGE, "hx-refresh": "true"})
        following = following or session.back_to(request)
        return self.templates.response("key.html", request, status=401, wrong=wrong, following=following)

    def problem(self, request: Request, error: KntsError) -> Response:
        """What went wrong, in the place of what was wanted."""
        target = request.headers.get("hx-target", "")
        told: Mapping[str, Any] = {"title": error.title, "detail": error.detail, "again": current(request).url()}
        if "hx-request" in request.headers and target in FRAGMENTS:
            return self.templates.response("_problem.html", request, status=error.status, target=target, **told)
        return self.templates.response("problem.html", request, status=error.status, **told)


def running(here: Address, question: str, turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the template of a running answer shows."""
    return {"answer_id": here.answer, "question": question, "address": here, "earlier": earlier(here, turns)}


def earlier(here: Address, turns: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The other questions of the address's conversation, each once, with the address of its latest answer."""
    shown = {turn["question"] for turn in turns if turn["id"] == here.answer}
    latest = {turn["question"]: here.showing(turn["id"]).url() for turn in turns if turn["question"] not in shown}
    return list(latest.items())


def reached(event_id: str) -> Position:
    """Where a browser was in the stream; one that names no place of ours starts again."""
    try:
        return position(event_id) if event_id else Position()
    except ValueError:
        return Position()


def current(request: Request) -> Address:
    """The address that the browser's bar shows: htmx tells it, a link or form has it as its referrer."""
    url = request.headers.get("hx-current-url") or request.headers.get("referer") or str(request.url)
    return address.parse_url(url)


async def form(request: Request) -> list[tuple[str, str]]:
    """The fields of a URL-encoded form. Raises TooLarge, Temporary."""
    body = await read_body(request, MAX_FORM, FORM_SECONDS)
    return address.pairs(body.decode("utf-8", errors="replace"))


def routes(ingress: Ingress, principal_of: PrincipalOf, heartbeat: float = 15.0) -> list[Route]:
    """The page's routes. `principal_of` raises Unauthorized; `heartbeat` is in seconds. Raises `assets.Missing`."""
    page = Page(ingress, principal_of, heartbeat, Templates(assets.load()))
    return [
        Route("/", page.home),
        Route("/ui/search", page.results),
        Route("/ui/search/more", page.more),
        Route("/ui/answers", page.ask, methods=["POST"]),
        Route("/ui/answers/{id}/events", page.events),
        Route("/ui/answers/{id}/cancel", page.cancel, methods=["POST"]),
        Route("/ui/document", page.document),
        Route("/ui/session", page.sign_in, methods=["POST"]),
        Route("/ui/session/end", page.sign_out, methods=["POST"]),
        Route("/ui/static/{digest}/{name}", page.static),
    ]

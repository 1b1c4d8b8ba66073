"""The templates and how they are filled in: everything is escaped, an undefined name is an error."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from functions.ingress.access import COOKIE
from functions.ingress.web import answers, headers, hits
from functions.ingress.web.address import Address
from functions.ingress.web.assets import Asset
from functions.ingress.web.marks import Piece, Run

_CLOSING = re.compile(r"\A[.,;:!?…)\]}”’»\"']*")
DOUBT = Markup(' <small class="doubt">unsupported</small>')  # said in words: neither colour nor line alone tells it
FOLDER = Path(__file__).parent / "templates"
HTMX_CONFIG = {
    "allowEval": False,  # the Content-Security-Policy forbids it
    "allowScriptTags": False,
    "includeIndicatorStyles": False,  # htmx would write them into the page, which the policy forbids
    "selfRequestsOnly": True,
    "historyCacheSize": 0,  # no document's text is left behind in the browser's storage
    "refreshOnHistoryMiss": True,
    "timeout": 60_000,  # milliseconds; beyond any search's deadline
    "responseHandling": [  # a failure comes as a fragment that says so
        {"code": "204", "swap": False},
        {"code": "...", "swap": True},
    ],
}


class Templates:
    """The page's templates, with the addresses of its static files."""

    def __init__(self, assets: Mapping[str, Asset]) -> None:
        self.assets = assets
        self.environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.globals.update(assets=assets, htmx_config=orjson.dumps(HTMX_CONFIG).decode())
        self.environment.filters.update(
            runs=marked, answered=answered, tally=hits.tally, counted=answers.counted, host=host
        )

    def fragment(self, name: str, request: Request, /, **context: Any) -> Markup:
        """A template's HTML."""
        shared = {"signed_in": COOKIE in request.cookies, "origin": str(request.base_url).rstrip("/")}
        return Markup(self.environment.get_template(name).render(**shared, **context))  # noqa: S704 - autoescaped

    def response(self, name: str, request: Request, /, *, status: int = 200, **context: Any) -> Response:
        """A template as a response, whole page or fragment."""
        return HTMLResponse(self.fragment(name, request, **context), status, headers=dict(headers.PAGE))

    def final(
        self, request: Request, here: Address, final: Mapping[str, Any], earlier: Sequence[tuple[str, str]] = ()
    ) -> Markup:
        """A finished answer, in the place of the running one, with what a screen reader is told of it."""
        shown = answers.answer({"question": here.query, **final})
        said = answers.announcement(shown)
        return self.fragment("_final.html", request, answer=shown, address=here, earlier=earlier, announce=said)


def host(url: str) -> str:
    """The host of a web address."""
    return urlsplit(url).netloc


def marked(runs: Sequence[Run], first: str = "") -> Markup:
    """Runs as HTML, the marked ones in `mark`, of which the first has the id `first`."""
    parts: list[Markup] = []
    for run in runs:
        name = Markup(' id="{}"').format(first) if first and run.marked else Markup()
        parts.append(Markup("<mark{}>{}</mark>").format(name, run.text) if run.marked else escape(run.text))
        first = "" if run.marked else first
    return Markup("").join(parts)


def answered(answer: answers.Answer) -> Markup:
    """An answer's text as HTML: what a citation covers, each followed by its number, which opens the passage.

    A number and the punctuation after it stay on one line.
    """
    parts: list[Markup] = []
    following = [*(piece.text for piece in answer.pieces[1:]), ""]
    taken = 0
    for piece, next_text in zip(answer.pieces, following, strict=False):
        names = (["cited"] if piece.cited and answer.citations else []) + (["doubted"] if piece.doubted else [])
        form = f'<span class="{" ".join(names)}">{{}}</span>' if names else "{}"
        parts.append(Markup(form).format(piece.text[taken:]))  # noqa: S704 - a constant; format escapes
        taken = len(next_text) - len(_CLOSING.sub("", next_text, count=1)) if piece.after else 0
        if piece.after:
            parts.append(Markup('<span class="kept">{}{}</span>').format(_numbers(answer, piece), next_text[:taken]))
        if piece.doubt:
            parts.append(DOUBT)
    return Markup("").join(parts)


def _numbers(answer: answers.Answer, piece: Piece) -> Markup:
    """The numbers of the citations that end here, each source's once."""
    at_once = {answer.citations[index].source.number: answer.citations[index] for index in reversed(piece.after)}
    return Markup("").join(_number(at_once[number]) for number in sorted(at_once))


def _number(citation: answers.Citation) -> Markup:
    return Markup(
        '<button class="cite" type="button" popovertarget="{}" aria-label="Source {}: {}">[{}]</button>'
    ).format(citation.id, citation.source.number, citation.source.title, citation.source.number)

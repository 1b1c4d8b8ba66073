"""What an operator may do with the dead letters, over HTTP at this function's own address: list, read, drop.

Sending one again is his client's business, so that the function needs no way out: docs/decisions/dead-letters.md.
"""

import hmac
from collections.abc import Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response

from functions.dead_letter.letters import Wanted, told, told_whole, wanted
from knts import telemetry
from knts.clients.dead_letters import DeadLetter, DeadLetters
from knts.errors import BadRequest, Forbidden, HttpError, NotFound, Unauthorized

LIST, ONE = "/letters", "/letters/"
PAGES = 10  # that are looked through for one answer, which may so have few letters, or none, and yet go on


class Newer(HttpError):
    """The letter has come again since it was read."""

    status, slug, title = 409, "newer", "The letter has come again"


class MethodNotAllowed(HttpError):
    """Letters are read and dropped."""

    status, slug, title = 405, "method-not-allowed", "Method not allowed"


class Desk:
    """Answers operators who show one of `keys`; without any keys it is closed."""

    def __init__(self, letters: DeadLetters, keys: Sequence[str]) -> None:
        self.letters = letters
        self.keys = keys

    async def __call__(self, request: Request) -> Response:
        """Answer `GET /letters`, `GET /letters/{id}` or `DELETE /letters/{id}`. Raises the HttpError of a refusal."""
        path = request.url.path
        self._admit(request.headers.get("authorization", ""))
        if path == LIST and request.method == "GET":
            telemetry.note_route(request.scope, LIST)
            return _json(await self._page(wanted(dict(request.query_params))))
        if not path.startswith(ONE) or path == ONE:
            raise NotFound(f"letters are at {LIST} and {ONE}<id>")
        telemetry.note_route(request.scope, "/letters/{id}")
        if request.method == "GET":
            return _json(told_whole(await self._letter(path.removeprefix(ONE))))
        if request.method == "DELETE":
            return await self._drop(path.removeprefix(ONE), request.query_params.get("times", ""))
        raise MethodNotAllowed("a letter is read by GET and dropped by DELETE")

    def _admit(self, authorization: str) -> None:
        if not self.keys:
            raise Forbidden("no operator's key is set (KNTS_OPERATOR_KEY), so nobody may see the dead letters")
        scheme, _, given = authorization.partition(" ")
        fits = [hmac.compare_digest(given.strip().encode(), key.encode()) for key in self.keys]
        if scheme.lower() != "bearer" or not any(fits):
            raise Unauthorized("an operator's key is wanted: Authorization: Bearer …")

    async def _page(self, which: Wanted) -> dict[str, object]:
        """The letters that are meant, out of some pages of all, and where to go on."""
        found: list[DeadLetter] = []
        after: str | None = which.after
        for _ in range(PAGES):
            try:
                page, after = await self.letters.listing(after=after or "", limit=which.limit - len(found))
            except ValueError as error:
                raise BadRequest(f"after: {error}", errors=[{"field": "after", "rule": str(error)}]) from error
            found += [letter for letter in page if which.means(letter)]
            if after is None or len(found) == which.limit:
                break
        return {"letters": [told(letter) for letter in found], "next": after}

    async def _letter(self, letter_id: str) -> DeadLetter:
        letter = await self.letters.get(letter_id)
        if letter is None:
            raise NotFound(f"there is no dead letter {letter_id[:80]!r}")
        return letter

    async def _drop(self, letter_id: str, times: str) -> Response:
        if times and not (times.isascii() and times.isdigit()):
            raise BadRequest("times: must be a whole number", errors=[{"field": "times", "rule": "a whole number"}])
        match await self.letters.drop(letter_id, int(times) if times else None):
            case "unknown":
                raise NotFound(f"there is no dead letter {letter_id[:80]!r}")
            case "newer":
                raise Newer("it was delivered here again since it was read, so it stays")
        return Response(status_code=204)


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), media_type="application/json", headers={"cache-control": "no-store"})

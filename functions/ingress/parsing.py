"""From HTTP words to ours: paths, queries, headers and NDJSON lines. Pure, but for reading a body's lines."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from functions.ingress.requests import check_depth
from knts import events
from knts.errors import BadRequest, KntsError, TooLarge, UnsupportedMedia

FILTER = "filter."
_WHOLE = re.compile(r"-?[0-9]{1,16}\Z")


def path_text(raw: str) -> str:
    """A part of the raw path, decoded once. Raises BadRequest for what is no UTF-8."""
    return _utf8(unquote_to_bytes(raw), "path")


def query_pairs(raw: bytes, *, once: Sequence[str], many: Sequence[str] = (), prefix: str = "") -> dict[str, list[str]]:
    """The query's values by name. Raises BadRequest naming what is unknown, given twice, or no UTF-8."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=200
        )
    except UnicodeError:
        raise _bad("query", "must be percent-encoded UTF-8") from None
    except ValueError:
        raise _bad("query", "has too many fields") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in once and name not in many and not (prefix and name.startswith(prefix) and name != prefix):
            raise _bad(name[:80], "is not a parameter of this call")
        found.setdefault(name, []).append(value)
    for name in once:
        if len(found.get(name, ())) > 1:
            raise _bad(name, "must be given once")
    return found


def search_query(raw: bytes) -> dict[str, Any]:
    """`q=&limit=&offset=&filter.<key>=&facet=` as a search request; a filter that is repeated means any of them."""
    given = query_pairs(raw, once=("q", "limit", "offset"), many=("facet",), prefix=FILTER)
    query: dict[str, Any] = {"query": given.get("q", [""])[0]}
    for name in ("limit", "offset"):
        if name in given:
            query[name] = whole(given[name][0], name)
    filters = {name.removeprefix(FILTER): values for name, values in given.items() if name.startswith(FILTER)}
    if filters:
        query["filters"] = {name: values[0] if len(values) == 1 else values for name, values in filters.items()}
    if "facet" in given:
        query["facets"] = list(dict.fromkeys(given["facet"]))
    return query


def whole(text: str, field: str) -> int:
    """A whole number. Raises BadRequest."""
    if not _WHOLE.match(text):
        raise _bad(field, "must be a whole number")
    return int(text)


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object of bounded depth. Raises BadRequest, BadEvent."""
    value = events.loads(body, "body")
    if not isinstance(value, dict):
        raise _bad("body", "must be a JSON object")
    check_depth(value)
    return value


def check_media(content_type: str | None, allowed: Iterable[str]) -> None:
    """Raises UnsupportedMedia unless the body is of one of the allowed types, in UTF-8."""
    kinds = list(allowed)
    bare, _, parameters = (content_type or "").partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\s\";]+)", parameters, re.IGNORECASE)
    if bare.strip().lower() not in kinds:
        raise UnsupportedMedia(f"the body must be {' or '.join(kinds)}")
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMedia("the body must be UTF-8")


def accepts(accept: str | None, media_type: str) -> float:
    """How much a client wants a media type, 0 to 1, by its Accept header; 1 where it has none."""
    best = (-1, 0.0)
    kind = media_type.partition("/")[0]
    for part in (accept or "*/*").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        rank = {media_type: 2, f"{kind}/*": 1, "*/*": 0}.get(name, -1)
        if rank > best[0]:
            best = (rank, _quality(parameters))
    return best[1]


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def prefers_async(prefer: str | None) -> bool:
    """Whether `Prefer: respond-async` stands among the preferences (RFC 7240)."""
    return any(part.split(";")[0].strip().lower() == "respond-async" for part in (prefer or "").split(","))


async def ndjson_lines(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[tuple[int, bytes | KntsError]]:
    """The numbered, non-empty lines of a body; TooLarge in the place of one that has more than `most` bytes.

    A body that breaks off ends with its error as the last line, so that what came before still counts.
    """
    number, size = 1, 0
    kept: list[bytes] = []
    try:
        async for chunk in chunks:
            *complete, rest = chunk.split(b"\n")
            for piece in complete:
                line = _line([*kept, piece], size + len(piece), most)
                kept, size = [], 0
                if line:
                    yield number, line
                number += 1
            size += len(rest)
            if size <= most:
                kept.append(rest)
    except KntsError as error:
        yield number, error
        return
    if line := _line(kept, size, most):
        yield number, line


def _line(pieces: Sequence[bytes], size: int, most: int) -> bytes | KntsError:
    if size > most:
        return TooLarge(f"the line has {size} bytes; at most {most} are allowed")
    return b"".join(pieces).strip()


def _utf8(raw: bytes, field: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(field, "must be percent-encoded UTF-8") from None


def _bad(field: str, rule: str) -> BadRequest:
    return BadRequest(f"{field}: {rule}", errors=[{"field": field, "rule": rule}])

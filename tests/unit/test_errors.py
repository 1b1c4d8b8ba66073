"""Problems are RFC 9457 objects that fit into what a Knative Broker can carry."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from knts import errors
from knts.errors import MAX_PROBLEM_BYTES, Permanent, Temporary


@given(
    detail=st.text(st.characters(exclude_categories=("Cs",)), max_size=2000),
    fields=st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=400), max_size=5),
    extra=st.text(st.characters(exclude_categories=("Cs",)), max_size=900),
)
def test_a_limited_problem_always_fits_and_keeps_its_status(detail: str, fields: list[str], extra: str) -> None:
    error = Permanent(detail, errors=[{"field": field, "rule": "r"} for field in fields], where=extra)
    body = errors.problem_bytes(error)
    assert len(body) <= MAX_PROBLEM_BYTES
    assert orjson.loads(body)["status"] == 422


def test_a_short_problem_is_whole() -> None:
    body = errors.problem(Permanent("bad id", errors=[{"field": "id", "rule": "is required"}]))
    assert body == {
        "type": "urn:knts:problem:unprocessable",
        "title": "The event cannot be processed",
        "status": 422,
        "detail": "bad id",
        "errors": [{"field": "id", "rule": "is required"}],
    }


def test_retry_after_is_whole_seconds_and_never_zero() -> None:
    assert errors.headers(Temporary("x", retry_after=0.2))["retry-after"] == "1"
    assert "retry-after" not in errors.headers(Temporary("x"))

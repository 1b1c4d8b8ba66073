"""How embeddings are named, written down and read from a server that may say anything."""

import json
import math
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts.clients.embedder import EmbedderAway, embeddings
from knts.clients.vectors import read_nearest
from knts.embeddings import (
    STEPS,
    Model,
    collection_name,
    embedded_text,
    likeness,
    model_of,
    moved,
    normalised,
    packed,
    product,
)
from knts.embeddings import unpacked as _unpacked
from knts.errors import IndexUnavailable

numbers = st.lists(st.floats(-1, 1), min_size=200, max_size=200).filter(lambda vector: product(vector, vector) > 0.01)


@given(st.text(min_size=1, max_size=60).filter(str.isprintable), st.integers(1, 16384))
def test_a_collections_name_tells_its_model_and_needs_no_escaping(name: str, dimension: int) -> None:
    named = collection_name("knts_chunks", Model(name, dimension))
    assert model_of(named) == Model(name, dimension)
    assert named.replace("_", "").replace(".", "").replace("-", "").isalnum()


def test_another_collection_tells_no_model() -> None:
    assert model_of("knts_chunks_1a2b3c4d") is None
    assert model_of("") is None


@given(numbers)
def test_a_packed_vector_points_nearly_where_it_did(vector: list[float]) -> None:
    whole = normalised(vector)
    if max(map(abs, whole)) * STEPS > 127:
        return  # it is cut: that is no embedding of a text
    again = normalised(_unpacked(b64decode(packed(whole))))
    assert product(whole, again) > 0.99


@given(numbers, numbers)
def test_two_vectors_are_about_as_like_when_one_is_packed(one: list[float], other: list[float]) -> None:
    whole, another = normalised(one), normalised(other)
    if any(max(map(abs, each), default=0) * STEPS > 127 or not any(each) for each in (whole, another)):
        return
    assert likeness(whole, b64decode(packed(another))) == pytest.approx(product(whole, another), abs=0.03)


def test_a_vector_is_moved_towards_another_and_stays_as_long() -> None:
    found = moved([1.0, 0.0], [(1.0, [0.0, 1.0])])
    assert found == pytest.approx([math.sqrt(0.5), math.sqrt(0.5)])


def test_where_a_passage_stands_is_part_of_what_is_embedded() -> None:
    assert embedded_text({"title": "Leave", "section": "Days", "text": "Thirty."}) == "Leave. Days. Thirty."
    assert embedded_text({"title": "", "text": "Thirty."}) == "Thirty."


def test_embeddings_are_brought_to_length_one() -> None:
    assert embeddings(b'{"embeddings": [[3, 4], [0, 2]]}', 2) == [[0.6, 0.8], [0.0, 1.0]]


@pytest.mark.parametrize(
    "reply",
    [
        b"", b"[]", b"null", b'{"embeddings": null}', b'{"embeddings": [[1, 2]]}', b'{"embeddings": [[1], [1, 2]]}',
        b'{"embeddings": [[], []]}', b'{"embeddings": [["a"], [1]]}', b'{"error": "no"}', b'{"embeddings": [1, 2]}',
    ],
)  # fmt: skip
def test_what_is_no_embedding_for_each_text_is_refused(reply: bytes) -> None:
    with pytest.raises(EmbedderAway):
        embeddings(reply, 2)


@pytest.mark.parametrize("reply", [{}, {"results": []}, {"results": [{"error": "bad"}]}, {"results": [{"hits": [{}]}]}])
def test_a_reply_without_neighbours_is_a_failure(reply: dict[str, object]) -> None:
    with pytest.raises(IndexUnavailable):
        read_nearest(json.loads(json.dumps(reply)))

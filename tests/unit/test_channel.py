"""Positions in the correlation channel: what a client may send back, and what it may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knts import channel
from knts.channel import Frame, Position

entry_ids = st.one_of(st.just("0"), st.builds("{}-{}".format, st.integers(0, 2**63), st.integers(0, 2**63)))


@given(entry_ids, entry_ids)
def test_a_position_survives_the_round_trip(ask: str, flight: str) -> None:
    assert channel.position(Position(ask, flight).token()) == Position(ask, flight)


@given(st.text(max_size=60))
def test_anything_else_is_refused_or_was_a_position(token: str) -> None:
    try:
        found = channel.position(token)
    except ValueError:
        return
    assert channel.position(found.token()) == found


@pytest.mark.parametrize("token", ["", "MA", "%%%", "é", Position("1-0", "$").token(), Position("+", "0").token()])
def test_a_forged_position_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="not a position"):
        channel.position(token)


def test_only_last_frames_are_last() -> None:
    assert Frame("1-0", channel.COMPLETED, {}).last
    assert not Frame("1-0", channel.DELTA, {}).last

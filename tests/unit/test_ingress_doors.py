"""How much one replica takes on: who comes then is told when to come back, and who leaves makes room."""

import pytest

from functions.ingress import doors
from functions.ingress.doors import Door, Road
from knts.errors import Busy


def test_a_door_lets_so_many_in_and_who_leaves_makes_room() -> None:
    door = Door(2, "searches")
    with door.passed():
        with door.passed():
            with pytest.raises(Busy, match="its 2 searches under way") as refused, door.passed():
                pytest.fail("it let a third in")
            assert refused.value.retry_after == 1
        with door.passed():
            assert door.inside == 2
    assert door.inside == 0


def test_who_fails_inside_leaves_too() -> None:
    door = Door(1, "loads")
    with pytest.raises(ValueError, match="inside"), door.passed():
        raise ValueError("inside")
    door.check()


def test_the_road_takes_so_many_questions_until_they_arrive() -> None:
    road = Road(2)
    road.enter("a")
    road.enter("b")
    with pytest.raises(Busy, match="2 questions"):
        road.enter("c")
    road.arrived("a")
    road.arrived("never came")
    road.enter("c")
    assert set(road.under_way) == {"b", "c"}


def test_a_question_whose_answer_is_read_elsewhere_counts_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(doors.time, "monotonic", lambda: now)
    road = Road(1, seconds=30)
    road.enter("a")
    now = 129.0
    with pytest.raises(Busy):
        road.enter("b")
    now = 130.0
    road.enter("b")
    assert set(road.under_way) == {"b"}

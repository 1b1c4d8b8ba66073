"""How much one replica takes on: who comes then is told when to come back, and who leaves makes room."""

import pytest

from functions.ingress import doors
from functions.ingress.doors import LEAST, Door, Limit, Road
from knts.errors import Busy


class Clock:
    """The time, as a test wants it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(doors, "time", made)
    return made


def test_a_door_lets_so_many_in_and_who_leaves_makes_room() -> None:
    door = Door(2, "searches")
    with door.passed():
        with door.passed():
            with pytest.raises(Busy, match="has 2 searches under way") as refused, door.passed():
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


def test_a_limit_falls_when_things_take_too_long_but_once_for_all_that_were_under_way() -> None:
    limit = Limit(100, seconds=2)
    for _ in range(50):
        limit.took(5, under_way=60, now=10)
    assert limit.allowed == pytest.approx(42)
    limit.took(5, under_way=42, now=12)
    assert limit.allowed == pytest.approx(29.4)


def test_it_rises_with_each_that_is_done_in_time_and_never_beyond_the_most() -> None:
    limit = Limit(20, seconds=2)
    limit.took(5, under_way=20, now=10)
    assert limit.allowed == pytest.approx(14)
    for _ in range(100):
        limit.took(2, under_way=1, now=11)
    assert limit.allowed == 20


def test_a_few_are_always_let_in() -> None:
    limit = Limit(20, seconds=2)
    for now in range(10, 100, 2):
        limit.took(60, under_way=5, now=now)
    assert limit.allowed == LEAST


def test_a_slow_door_takes_fewer_and_a_door_without_a_time_does_not_care(clock: Clock) -> None:
    slow, patient = Door(10, "searches", seconds=2), Door(10, "streams")
    for door in (slow, patient):
        with door.passed():
            clock.now += 60
    assert (slow.limit.allowed, patient.limit.allowed) == (LEAST, 10)


def test_the_road_takes_so_many_questions_until_they_arrive() -> None:
    road = Road(2, patience=5)
    road.enter("a")
    road.enter("b")
    with pytest.raises(Busy, match="2 questions"):
        road.enter("c")
    road.arrived("a")
    road.arrived("never came")
    road.enter("c")
    assert set(road.under_way) == {"b", "c"}


def test_a_question_whose_answer_is_read_elsewhere_counts_for_a_while_only(clock: Clock) -> None:
    road = Road(1, patience=5)
    road.enter("a")
    clock.now += 29
    with pytest.raises(Busy):
        road.enter("b")
    clock.now += 1
    road.enter("b")
    assert set(road.under_way) == {"b"}


def test_a_road_that_takes_too_long_takes_nobody_more(clock: Clock) -> None:
    road = Road(100, patience=5)
    for ask_id in ("read elsewhere", "a", "b"):
        road.enter(ask_id)
    road.follow("a")
    road.follow("b")
    road.follow("unknown")
    clock.now += 5.5
    with pytest.raises(Busy):
        road.enter("c")
    road.arrived("a")
    with pytest.raises(Busy):
        road.enter("c")
    road.arrived("b")
    road.enter("c")
    assert set(road.under_way) == {"read elsewhere", "c"}
    assert road.followed == set()


def test_one_that_is_read_here_counts_however_long_it_takes(clock: Clock) -> None:
    road = Road(1, patience=500, longest=30)
    road.enter("a")
    road.follow("a")
    clock.now += 100
    with pytest.raises(Busy):
        road.enter("b")

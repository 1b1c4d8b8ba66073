"""The tap never waits for a listener: a slow one loses the oldest and is told how many."""

from knts.devbroker.tap import Listener, Tap, message

BROKER = ("default", "kn-ts")


async def test_a_slow_listener_loses_the_oldest_and_hears_how_many() -> None:
    tap = Tap()
    slow = Listener(BROKER, size=3)
    tap.listeners.add(slow)
    for n in range(5):
        tap.tell(BROKER, "accepted", {"n": n})
    expected = [message("missed", {"messages": 2}), *(message("accepted", {"n": n}) for n in (2, 3, 4))]
    assert await slow.next() == b"".join(expected)

    tap.tell(BROKER, "accepted", {"n": 5})
    assert await slow.next() == message("accepted", {"n": 5})


async def test_a_listener_hears_only_of_his_broker() -> None:
    tap = Tap()
    listener = Listener(BROKER)
    tap.listeners.add(listener)
    tap.tell(("default", "other"), "accepted", {})
    assert await listener.next(heartbeat=0.01) == b": nothing new\n\n"


def test_a_message_is_one_line_of_data_whatever_it_holds() -> None:
    text = message("accepted", {"subject": "a\n\ndata: b"}).decode()
    assert text.count("\n\n") == 1
    assert text.endswith("\n\n")

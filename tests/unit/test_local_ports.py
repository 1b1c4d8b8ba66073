"""The ports that a local run and its tests are given."""

import socket

from knts.local import process


def test_free_ports_lie_below_those_of_connections_and_none_is_given_twice() -> None:
    given = [process.free_port() for _ in range(200)]
    assert len(set(given)) == len(given)
    assert all(port in process.PORTS for port in given)
    assert process.PORTS.stop <= 30_000


def test_a_port_that_is_taken_is_passed_over() -> None:
    following = process.free_port() + 1  # the next in turn, but for the end of the range
    with socket.socket() as taken:
        if following not in process.PORTS or process.port_taken(following):
            following = process.PORTS.start
        taken.bind(("127.0.0.1", following))
        taken.listen()
        assert following not in {process.free_port() for _ in range(5)}

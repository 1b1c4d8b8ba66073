"""The phases of a start are told by the lines that it prints."""

import pytest

from bench.start import PHASES, phases

FIRST = [
    (0.1, "making a virtual environment in .venv (Python 3.11.2)\n"),
    (4.0, "installing requirements-local.txt (79 packages, wheels only, each checked by its digest)\n"),
    (29.0, "installing requirements-nodeps.txt (6 packages, wheels only, each checked by its digest)\n"),
    (33.0, "kn-ts is starting; its state and logs are in /home/u/kn-ts/.knts\n"),
    (38.0, "  embedder is ready (4.9 s)\n"),
    (39.0, "  broker is ready (0.8 s)\n"),
    (42.0, "kn-ts is up after 8.7 s; the page:  http://127.0.0.1:8080\n"),
    (43.5, "  kn-ts' own documents: 30 of 30 are indexed (1.19 s)\n"),
]


def test_each_phase_ends_with_its_line_and_they_add_up_to_the_whole() -> None:
    told = dict(phases(FIRST))
    assert list(told) == [name for name, _ in PHASES]
    assert list(told.values()) == pytest.approx([4.0, 29.0, 5.0, 1.0, 3.0, 1.5])


def test_a_phase_that_did_not_take_place_is_not_told() -> None:
    told = dict(phases(FIRST[3:]))
    assert list(told) == [name for name, _ in PHASES[1:]]

"""What the load test writes, searches for and asks: made up, the same in every run, and plain enough to be judged."""

import itertools
import random
from typing import Any

SEED = 20260131
_FIRST = ("Skar", "Gran", "Hel", "Tor", "Mos", "Vind", "Bryn", "Lur")
_LAST = ("holm", "vik", "ness", "fjord", "havn", "stad", "berg", "sund", "mark", "land")
PLACES = ["".join(parts) for parts in itertools.product(_FIRST, ("en", "is", "ag", "ul", "or"), _LAST)]
NAMES = ("Maren Oldfather", "Jonas Brackwater", "Ida Fenwick", "Pelle Storm", "Runa Hollis", "Egil Tarn")
WORDS = """
river stone harbour winter ledger signal copper meadow anchor lantern bridge orchard summit canyon velvet engine
station captain market garden window thunder silver forest island letter season mirror travel hollow barrel candle
feather granite hammer jacket kettle ladder marble needle orange pepper quarry ribbon saddle timber valley walnut
""".split()  # noqa: SIM905 - it reads as words
WRITTEN = 200  # documents that are written again and again
REPEATED = 8  # questions that are asked again and again


def standing_documents() -> list[dict[str, Any]]:
    """The documents that are there from the beginning: a lighthouse and its keeper each, and some words to find."""
    chance = random.Random(SEED)
    return [
        {
            "id": f"lighthouse/{place}",
            "title": f"The lighthouse of {place}",
            "text": f"The lighthouse of {place} was built of granite. The keeper of the lighthouse of {place} is "
            f"{NAMES[number % len(NAMES)]}.\n\n{prose(chance)}",
        }
        for number, place in enumerate(PLACES)
    ]


def written_document(chance: random.Random) -> tuple[str, dict[str, Any]]:
    """Id and body of one of the documents that are written again and again; it never is what a question asks for."""
    number = chance.randrange(WRITTEN)
    return f"written/{number}", {"title": f"Note {number}", "text": "\n\n".join(prose(chance) for _ in range(2))}


def prose(chance: random.Random) -> str:
    """Some 60 words."""
    return " ".join(chance.choices(WORDS, k=60)).capitalize() + "."


def query(chance: random.Random) -> str:
    """One to three words to search for, one in five with a typo, one in five with a place's name."""
    words = chance.sample(WORDS, k=chance.choice((1, 2, 2, 3)))
    if chance.random() < 0.2:
        words[0] = chance.choice(PLACES)
    if chance.random() < 0.2:
        words[-1] = misspelt(words[-1], chance)
    return " ".join(words)


def misspelt(word: str, chance: random.Random) -> str:
    """The word with two neighbouring letters exchanged, or one left out."""
    at = chance.randrange(1, len(word) - 1)
    if chance.random() < 0.5 and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :]


def question(place: str) -> str:
    """A question that the place's document answers."""
    return f"Who is the keeper of the lighthouse of {place}?"


def repeated_question(chance: random.Random) -> str:
    """One that has been answered before."""
    return question(PLACES[chance.randrange(REPEATED)])


def fresh_question(chance: random.Random) -> str:
    """One whose answer has to be written, if it is asked with the cache off."""
    return question(chance.choice(PLACES[REPEATED:]))


def question_of_the_moment(moment: int) -> str:
    """The one that everybody asks at this moment, and nobody has asked before for a long while."""
    return question(PLACES[REPEATED + moment % (len(PLACES) - REPEATED)])

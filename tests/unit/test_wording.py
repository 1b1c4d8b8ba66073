"""Whether another wording may have a cached answer: near misses of every kind, and true paraphrases."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.intervals import upper
from bench.wording import OWN, Marked, allowed, cosine, learned
from functions.llm_answer.wording import UNKNOWN, UNLIKE, same
from functions.llm_answer.wording_guards import GUARDS
from functions.llm_answer.wording_learned import LIKE_ENOUGH

MODEL = "all-minilm:22m"
PAIRS = [json.loads(line) for line in Path(OWN).read_text().splitlines()]
OTHERS = [(each["one"], each["other"]) for each in PAIRS if not each["same"]]
PARAPHRASES = [(each["one"], each["other"]) for each in PAIRS if each["same"]]
MISSED = {  # what is not understood, and the guard that refuses it
    ("What would happen if the broker stopped?", "What happens if the broker stops?"): "modal",
    ("How are answers cached?", "How is the caching of answers done?"): "voice",
    ("How does the cache forget a document?", "How is a document forgotten by the cache?"): "word",
    ("How can I get a refund?", "How to obtain a refund?"): "word",
    ("What are the symptoms of flu?", "Which symptoms does flu have?"): "person",
    ("Why is the build slow?", "What makes the build slow?"): "kind",
    ("What do I do if the disk is full?", "What should I do when the disk is full?"): "modal",
}
LONG = "Is a rule that names " + " and ".join(f"place {'abcdefghijklmnopqrstuvwxyz'[at]}" for at in range(20))
REFUSED_BY = {
    "length": (LONG, LONG + " a rule?"),
    "number": ("Is port 8080 open?", "Is port 8081 open?"),
    "unit": ("Is the limit 5 GB?", "Is the limit 5 MB?"),
    "negation": ("Why can I log in?", "Why can't I log in?"),
    "opposite": ("How do I enable tracing?", "How do I disable tracing?"),
    "quantity": ("Do all plans include it?", "Do plans include it?"),
    "time": ("Who is the mayor?", "Who was the mayor?"),
    "kind": ("Who founded it?", "When is it founded?"),
    "modal": ("What can be deleted?", "What must be deleted?"),
    "person": ("What do I owe you?", "What do you owe me?"),
    "voice": ("Which services are called?", "Which services call?"),
    "join": ("Do I need a visa and a passport?", "Do I need a visa or a passport?"),
    "quote": ('What does "over and out" mean?', "What is the meaning of it?"),
    "name": ("Who runs the office in Berlin?", "Who runs the office in Munich?"),
    "word": ("What is the timeout of search?", "What is the timeout of ingress?"),
    "nothing": ("What is it?", "What is that?"),
    "direction": ("How do I fly from Oslo to Rome?", "How do I fly from Rome to Oslo?"),
}


@pytest.mark.parametrize("pair", OTHERS, ids=" | ".join)
def test_a_near_miss_is_another_question_either_way_round_and_however_close_its_embedding(
    pair: tuple[str, str],
) -> None:
    one, other = pair
    assert not same(one, other, 1.0, MODEL)
    assert not same(other, one, 1.0, MODEL)


@pytest.mark.parametrize("pair", PARAPHRASES, ids=" | ".join)
def test_a_paraphrase_has_the_answer_but_for_those_that_are_known_to_be_missed(pair: tuple[str, str]) -> None:
    one, other = pair
    reason = MISSED.get(pair, "")
    assert same(one, other, 1.0, MODEL).reason == reason
    assert bool(same(other, one, 1.0, MODEL)) == (not reason)


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_says_of_its_own_matter_why_it_refuses(guard: str) -> None:
    one, other = REFUSED_BY[guard]
    assert same(one, other, 1.0, MODEL).reason == guard
    assert same(one, one, 0.0, "").reason in ("", "nothing", "length")


def test_the_same_words_put_another_way_need_no_embedding() -> None:
    for model in ("", MODEL, "nomic-embed-text"):
        assert same("How do I reset my password?", "What is the way to reset my password?", 0.0, model)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I fix a broken build?", "How can I repair a broken build?"),  # another word
        ("What is the capital of France?", "What is France's capital?"),  # another order
        ("Is the key in the box?", "Is the key on the box?"),  # another preposition
        ("How is the cache managed?", "How is the cache usually managed?"),  # a word that hardly matters
    ],
)
def test_other_words_need_an_embedding_that_is_close_enough_by_what_was_learned_of_its_model(
    one: str, other: str
) -> None:
    least = LIKE_ENOUGH[MODEL]
    assert same(one, other, least, MODEL)
    assert same(one, other, least, "all-minilm:latest")
    assert same(one, other, least - 0.001, MODEL).reason == UNLIKE
    assert same(one, other, 1.0, "nomic-embed-text").reason == UNKNOWN
    assert same(one, other, 1.0).reason == UNKNOWN


def test_a_text_that_is_cut_is_never_the_same() -> None:
    assert same("a" * 600 + "b", "a" * 600 + "c", 1.0, MODEL).reason == "length"


@pytest.mark.parametrize(
    ("one", "other"), [("Was ist ein Broker?", "Wo ist ein Broker?"), ("何時に開きますか", "何時に閉まりますか")]
)
def test_of_another_language_only_the_same_words_are_the_same(one: str, other: str) -> None:
    assert same(one, one.lower(), 1.0, MODEL)
    assert not same(one, other, 1.0, MODEL)


@given(st.sampled_from(OTHERS + PARAPHRASES), st.floats(0, 1), st.sampled_from(["", MODEL]))
def test_who_asked_first_makes_no_difference(pair: tuple[str, str], likeness: float, model: str) -> None:
    one, other = pair
    assert bool(same(one, other, likeness, model)) == bool(same(other, one, likeness, model))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["after {} days", "in version {}.1", "for {} €"]))
def test_another_number_is_another_question(one: int, other: int, where: str) -> None:
    asked, known = (f"Which plan ends {where.format(number)}?" for number in (one, other))
    assert bool(same(asked, known, 1.0, MODEL)) == (one == other)


@given(st.text(max_size=700), st.text(max_size=700))
def test_whatever_is_asked_is_judged(one: str, other: str) -> None:
    assert isinstance(same(one, other, 0.5, MODEL).reason, str)


# What bench.wording calls learned and within the bound.

REWORDED = ("How do I fix a broken build?", "How can I repair a broken build?")


def test_an_upper_bound_holds_what_a_share_may_be_by_chance() -> None:
    assert upper(0, 1000) == pytest.approx(0.00299, abs=1e-5)  # 1 - 0.05 ** (1 / 1000)
    assert upper(4, 1000) == pytest.approx(0.00913, abs=1e-5)
    assert allowed(1000) == 4


def test_cosine_alone_is_held_to_the_same_bound() -> None:
    others = [Marked(*REWORDED, same=False, likeness=0.5 + at / 2000) for at in range(1000)]
    assert sum(each.likeness >= cosine(others) for each in others) == allowed(1000)


def test_the_more_wrong_hits_the_more_like_two_questions_must_be() -> None:
    right = [Marked(*REWORDED, same=True, likeness=0.8 + at / 500) for at in range(100)]
    unrelated = [Marked("What is a broker?", "Who is Hamlet?", same=False, likeness=0.1)] * 995
    floors = [
        learned([*right, *unrelated, *(Marked(*REWORDED, same=False, likeness=0.9) for _ in range(wrong))])
        for wrong in (0, 5, 20)
    ]
    assert floors[0] < floors[1] < floors[2]

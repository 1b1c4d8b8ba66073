"""Follow-up questions: which ones lean on what was asked before, and how they are made to stand by themselves. Pure.

"Who wrote it?" finds nothing. After "Where does Hamlet take place?" it is asked as "Who wrote it? (Hamlet place)": the
asker's own words stay as they are, and what they lean on follows in brackets. Whoever changes the subject is left
alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from functions.search.stems import stem
from functions.search.stopwords import STOP_WORDS
from knts.words import Word, words

Turn = Mapping[
    str, Any
]  # {"question", "titles"?}: what was asked, and the titles of the documents that its answer cites

LONGEST = 4000  # characters of a question, as in schemas/events/knts.answer.requested.v1.json
MOST_TERMS = 8  # words of the question before
MOST_TITLE_TERMS = 6  # words of the titles that its answer cites
KEPT = 0.5  # share of a question's telling words that its rewriting must have

_POINTING = """
it its itself they them their theirs themselves he him his himself she her hers herself this that these those
"""
_BEING = "is are was were be does do did means mean isnt arent wasnt werent"
_NEGATIONS = "no not never without cannot cant dont doesnt didnt isnt arent wasnt werent wont"
POINTING, BEING, NEGATIONS = (frozenset(each.split()) for each in (_POINTING, _BEING, _NEGATIONS))
_OPENING = re.compile(r"\s*(?:and|but|or|so|then|also|what about|how about|why not|what if)\b", re.IGNORECASE)


def standalone(question: str, turns: Sequence[Turn]) -> str:
    """The question as it can be understood without the turns before it, which come oldest first."""
    before, titles = "", ()
    for turn in turns:
        before, titles = _expanded(turn["question"], before, titles), tuple(turn.get("titles", ()))
    return _expanded(question, before, titles)


def _expanded(question: str, before: str, titles: Iterable[str]) -> str:
    """The question and, in brackets, the telling words of the question before and of what its answer cites."""
    if not before or not leans(question):
        return question
    known = {stem(word.form) for word in words(question)}
    terms = _new_terms(before, known, MOST_TERMS)
    for title in titles:
        terms += _new_terms(title, known, MOST_TITLE_TERMS)
    whole = f"{question} ({' '.join(terms)})"
    return whole if terms and len(whole) <= LONGEST else question


def leans(question: str) -> bool:
    """Whether a question says too little by itself: it points back, goes on with "and …", or is hardly a question."""
    said = words(question)
    if _OPENING.match(question) or any(_points_back(question, said, at) for at in range(len(said))):
        return True
    telling = [word for word in said if word.form not in STOP_WORDS]
    return not telling or (len(telling) == 1 and not any(word.form in BEING for word in said))


def faithful(rewritten: str, question: str, turns: Sequence[Turn]) -> bool:
    """Whether a model's rewriting says what was asked: in words that were said, with its numbers and negations."""
    said = [
        question,
        *(turn["question"] for turn in turns),
        *(each for turn in turns for each in turn.get("titles", ())),
    ]
    allowed = {stem(word.form) for text in said for word in words(text)}
    told = {stem(word.form) for word in words(rewritten) if word.form not in STOP_WORDS}
    asked = {stem(word.form) for word in words(question) if word.form not in STOP_WORDS}
    return (
        bool(told)
        and told <= allowed
        and len(asked & told) >= KEPT * len(asked)
        and {each for each in asked if any(sign.isdigit() for sign in each)} <= told
        and _negated(rewritten) == _negated(question)
        and len(rewritten) <= LONGEST
    )


def _points_back(question: str, said: Sequence[Word], at: int) -> bool:
    """Whether a word stands for something that the question itself does not name before it."""
    form = said[at].form
    if form not in POINTING:
        return False
    if form == "that" and at and said[at - 1].form not in STOP_WORDS:
        return False  # "the rule that says so"
    if form in ("this", "that", "these", "those"):
        return True
    return not any(_name(question, word) for word in said[1:at])


def _name(question: str, word: Word) -> bool:
    return question[word.start].isupper() and word.end - word.start > 1


def _new_terms(text: str, known: set[str], most: int) -> list[str]:
    """The telling words of a text, as they are written, whose stems are not known yet; from now on they are."""
    terms: list[str] = []
    for word in words(text):
        if len(terms) < most and word.form not in STOP_WORDS and (root := stem(word.form)) not in known:
            known.add(root)
            terms.append(text[word.start : word.end])
    return terms


def _negated(text: str) -> bool:
    return any(word.form in NEGATIONS for word in words(text))

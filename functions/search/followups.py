"""Follow-up questions: which ones lean on what was asked before, and how they are made to stand by themselves. Pure.

"Who wrote it?" finds nothing. After "Where does Hamlet take place?" it is asked as "Who wrote it? (Hamlet place)": the
asker's own words stay as they are, and what they lean on follows in brackets. Whoever changes the subject is left
alone. The rules are English; `python -m bench.conversations` measures them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from functions.search.stems import stem
from functions.search.stopwords import STOP_WORDS
from knts.words import Word, words

# {"question", "titles"?}: what was asked, and the titles of the documents that its answer cites
Turn = Mapping[str, Any]

LONGEST = 4000  # characters of a question, as in schemas/events/knts.answer.requested.v1.json
MOST_TERMS = 8  # words of the question before
MOST_TITLE_TERMS = 6  # words of the titles that its answer cites
ENOUGH = 3  # telling words that say what a question is about, though it goes on from before
KEPT = 0.5  # share of a question's telling words that its rewriting must have

_POINTING = """
it its itself they them their theirs themselves he him his himself she her hers herself this that these those
"""
_BEING = "is are was were be do does did means mean isnt arent wasnt werent"
_ASKING = """
is are was were be been do does did has have had can could may might must shall should will would isnt arent wasnt
werent dont doesnt didnt hasnt havent cant couldnt wont wouldnt who whom whose what which when where why how
"""
_MIDDLE = """
about above after among as at before behind below beside between beyond by during for from in into of on onto over per
since than through to toward under until upon via with within without all another any both even just least less more
most only
"""
_OF_SOMETHING = """
advantage alternative benefit bound cause consequence cost default difference disadvantage drawback effect example
exception maximum meaning minimum name point price purpose reason rest result size unit value
"""
_NEGATIONS = "no not never without cannot cant dont doesnt didnt isnt arent wasnt werent wont"
POINTING, BEING, ASKING, MIDDLE, OF_SOMETHING, NEGATIONS = (
    frozenset(each.split()) for each in (_POINTING, _BEING, _ASKING, _MIDDLE, _OF_SOMETHING, _NEGATIONS)
)
_OPENING = re.compile(r"\s*(?:and|but|or|so|then|also|what about|how about|why not|what if)\b", re.IGNORECASE)
_CHOICE = re.compile(
    r"\s*which (?:is|are|was|were|does|do|did|has|have|can|may|must|should|will|would)\b", re.IGNORECASE
)
_LAST = r"(?= \s* (?: [?.,!;:] | \Z ))"  # what follows is the end of a question or of a part of it
_FROM_BEFORE = re.compile(
    rf"""
    \b (?: instead (?! \s+ of\b ) | ones | vice \s+ versa
        | (?: what | who | where | how | why | anything | nothing | something | anybody | nobody ) \s+ else
        | (?: which | the (?: \s+ \w+ )? | an? \s+ \w+ | another | any ) \s+ one
            (?: {_LAST} | (?= \s+ (?: {"|".join(sorted(STOP_WORDS - {"of"}))} ) \b ))
        | the \s+ (?: first | second | third | last | next | other | same ) \s+ one
        | one (?: {_LAST} | (?= \s+ (?: for | from | like | to | with | without ) \b ))
        | (?: the | of ) \s+ (?: other | latter | former | two | second | third | last ) {_LAST}
        | of \s+ the \s+ (?: two | three | four )
        | the \s+ same (?: {_LAST} | (?= \s+ (?: for | holds? | in | is | true | was | with ) \b ))
        | (?: afterwards | here | next | then | there | too ) (?= [\s?.!]* \Z )
    ) \b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_STANDS_FOR_NOTHING = re.compile(
    r"""
    it \s+ (?: (?: is | was | be ) \s+ )?
    (?: (?: allowed | bad | best | better | easy | enough | fine | good | hard | harmful | harmless | known | likely
        | necessary | ok | okay | possible | recommended | required | safe | true | useful | wise | worth ) \s+
        (?: to | that | if | whether | when | for )
    | (?: happens? | helps? | hurts? | matters? | means? ) \s+ (?: that | if | whether | when | how )
    | takes? \s+ (?: \w+ \s+ )? to ) \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def standalone(question: str, turns: Sequence[Turn]) -> str:
    """The question as it can be understood without the turns before it, which come oldest first."""
    before, titles = "", ()
    for turn in turns:
        before, titles = _expanded(turn["question"], before, titles), tuple(turn.get("titles", ()))
    return _expanded(question, before, titles)


def _expanded(question: str, before: str, titles: Iterable[str]) -> str:
    """The question and, in brackets, the telling words of the one before; where these are few, of what it cites too."""
    if not before or not leans(question):
        return question
    known = {stem(word.form) for word in words(question)}
    terms = _new_terms(before, known, MOST_TERMS)
    for title in titles if len(_telling(before)) < ENOUGH else ():
        terms += _new_terms(title, known, MOST_TITLE_TERMS)
    whole = f"{question} ({' '.join(terms)})"
    return whole if terms and len(whole) <= LONGEST else question


def leans(question: str) -> bool:
    """Whether a question says too little by itself.

    It points back ("it", "the second one", "what else"), goes on from before ("And …", "Which is faster?") or begins in
    the middle of a sentence ("At least four?") without saying what it is about, or is hardly a question.
    """
    said, telling = words(question), _telling(question)
    forms = [word.form for word in said]
    if any(_points_back(question, said, at) for at in range(len(said))) or _FROM_BEFORE.search(question):
        return True
    asking = not ASKING.isdisjoint(forms)
    if _OPENING.match(question) and not (asking and len(telling) >= ENOUGH):
        return True
    if len(telling) < ENOUGH and _CHOICE.match(question):
        return True
    if forms and forms[0] in MIDDLE and not asking and len(telling) <= ENOUGH:
        return True
    if OF_SOMETHING.issuperset(telling):
        return True
    return len(telling) == 1 and BEING.isdisjoint(forms)


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
    if form not in POINTING or (form == "it" and _STANDS_FOR_NOTHING.match(question, said[at].start)):
        return False  # "Is it possible to …" names nothing
    if form == "that" and at and said[at - 1].form not in STOP_WORDS:
        return False  # "the rule that says so"
    if form in ("this", "that", "these", "those"):
        return True
    return not any(_name(question, word) for word in said[1:at])


def _telling(text: str) -> list[str]:
    return [word.form for word in words(text) if word.form not in STOP_WORDS]


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

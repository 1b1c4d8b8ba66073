"""What somebody typed, parted into words and quoted phrases, and the lookups that find its passages. Pure.

Three forms of a query are told apart, since people type words into a box and questions into the same box:
- **browse**: no text at all; every passage in the filters.
- **plain**: at most three words and none of them a stop word: a passage must hold them all, if enough passages do.
- **loose**: anything longer or with stop words: passages are ranked by how much of it they hold.
What is quoted a passage must hold in any case.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from functions.search.stems import shared_prefix, stem
from functions.search.stopwords import STOP_WORDS
from knts.lookup import LONGEST_BEGINNING, MOST_EXACT, MOST_IN_PHRASE, Lookup
from knts.words import forms

MOST_WORDS = 40  # of a query that must all be there; the rest of a pasted page is not looked up
MOST_TERMS = 20  # that are looked up and ranked by
PLAIN = 3
MOST_BESIDE_PHRASES = 8
SHORTEST_BEGINNING = 4  # letters that all forms of a word begin with, to look for them at once
ONE_TYPO, TWO_TYPOS = 4, 7  # letters from which a word may be misspelt

Form = Literal["browse", "plain", "loose", "nothing"]
_QUOTED = re.compile(r'["“”„]([^"“”„]*)["“”„]')


@dataclass(frozen=True)
class Term:
    """A word that passages are ranked by; `open` when it is still being typed and may go on.

    `typed` is the word that it stands for, from which it is `away` letters away.
    """

    form: str
    open: bool = False
    typed: str = ""
    away: int = 0

    def __post_init__(self) -> None:
        if not self.typed:
            object.__setattr__(self, "typed", self.form)

    def __hash__(self) -> int:
        return hash(self.form)  # a string keeps its own; the hash of all fields is what ranking would wait for

    @property
    def stem(self) -> str:
        return stem(self.form)

    def lookup(self, phrase: tuple[str, ...] = (), size: int = 0) -> Lookup:
        """All passages that hold the word in any of its forms, and some more where words begin alike."""
        beginning = self.form if self.open else shared_prefix(self.form)
        if self.open or len(beginning) >= SHORTEST_BEGINNING:
            return Lookup(phrase=phrase, beginning=beginning[:LONGEST_BEGINNING], size=size)
        return Lookup((self.form,), phrase, size=size)

    @property
    def typos(self) -> int:
        """How many letters may differ from what was meant: none of a short word."""
        return (len(self.form) >= ONE_TYPO) + (len(self.form) >= TWO_TYPOS)


@dataclass(frozen=True)
class Query:
    """The words in their order, the quoted phrases, and whether the last word is still being typed.

    `spellings` are the words that misspelt ones may stand for.
    """

    words: tuple[str, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    typing: bool = False
    blank: bool = False
    text: str = field(default="", compare=False)  # as it was typed
    spellings: tuple[tuple[Term, ...], ...] = ()

    @property
    def form(self) -> Form:
        if not self.words and not self.phrases:
            return "browse" if self.blank else "nothing"
        few = len(set(self.words)) <= PLAIN and not STOP_WORDS.intersection(self.words)
        return "plain" if few or STOP_WORDS.issuperset(self.words) else "loose"

    @cached_property
    def groups(self) -> tuple[tuple[Term, ...], ...]:
        """What passages are ranked by: for each typed word of another stem the terms that it may stand for.

        Stop words are left out unless there is nothing else.
        """
        last = len(self.words) - 1
        terms = [Term(form, self.typing and at == last) for at, form in enumerate(self.words)]
        telling = [term for term in terms if term.form not in STOP_WORDS]
        quoted = [Term(form) for phrase in self.phrases for form in phrase if form not in STOP_WORDS]
        anything = [*terms, *(Term(form) for phrase in self.phrases for form in phrase)]
        chosen = {term.stem: term for term in telling + quoted or anything}
        spelt = {group[0].typed: group for group in self.spellings}
        often = self.times
        most = sorted(chosen.values(), key=lambda term: -often[term.stem])[:MOST_TERMS]
        return tuple(spelt.get(term.form, (term,)) for term in chosen.values() if term in most)

    @cached_property
    def times(self) -> Mapping[str, int]:
        """How often each word was typed, by stem: what is said twice is meant more."""
        return Counter(map(stem, (*self.words, *(form for phrase in self.phrases for form in phrase))))

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of all groups."""
        return tuple(dict.fromkeys(term for group in self.groups for term in group))

    def whole(self, page: int = 1, size: int = 0, facets: tuple[str, ...] = ()) -> Lookup:
        """The passages that hold everything that was typed; of more than a few words, in a row as they were typed."""
        words, beginning = _parted(self.words[:MOST_WORDS], self.typing and len(self.words) <= MOST_WORDS)
        exact = tuple(dict.fromkeys([*self.quoted_words, *words]))
        if len(exact) <= self.room:
            return Lookup(exact, self.phrase, beginning, page=page, size=size, facets=facets)
        phrase = self.phrase or longest_piece([words])
        beside = self.quoted_words[: MOST_EXACT - bool(phrase)]
        return Lookup(beside, phrase, beginning, page=page, size=size, facets=facets)

    def together(self, size: int) -> Lookup:
        """The passages that hold all words that passages are ranked by, as far as they were typed like that.

        None of them for more than a few words: no passage holds all of many.
        """
        terms = [term for term in self.terms if not term.away]
        if not 0 < len(terms) <= self.room:
            return Lookup()
        words, beginning = _parted(tuple(term.form for term in terms), terms[-1].open)
        return Lookup(words, self.phrase, beginning, size=size)

    @cached_property
    def phrase(self) -> tuple[str, ...]:
        """The phrase by which quoted ones are looked up; whether all stand there as they are `demands` tells."""
        return longest_piece(self.phrases)

    @cached_property
    def quoted_words(self) -> tuple[str, ...]:
        return tuple(phrase[0] for phrase in self.phrases if len(phrase) == 1)

    @property
    def room(self) -> int:
        """How many words a lookup takes beside the phrase."""
        return MOST_EXACT - bool(self.phrase)

    @property
    def certain(self) -> bool:
        """Whether a lookup of the whole finds nothing but what is demanded: of a longer phrase it finds the pairs."""
        words = ((word,) for word in self.quoted_words[: self.room])
        return len(self.phrase) <= 2 and set(self.phrases) <= {self.phrase, *words}

    def demands(self, *texts: Sequence[str]) -> bool:
        """Whether every quoted phrase stands in one of the texts, which are lists of words."""
        return all(any(places(phrase, words) for words in texts) for phrase in self.phrases)


def longest_piece(phrases: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The beginning of the longest of the phrases, the first of equals, as far as a lookup takes it; else nothing."""
    longest = max((tuple(phrase) for phrase in phrases if len(phrase) > 1), key=len, default=())
    return longest[:MOST_IN_PHRASE]


def places(phrase: Sequence[str], words: Sequence[str]) -> list[int]:
    """Where in the words the phrase stands."""
    size, sought = len(phrase), list(phrase)
    return [at for at in range(len(words) - size + 1) if list(words[at : at + size]) == sought]


def _parted(words: tuple[str, ...], typing: bool) -> tuple[tuple[str, ...], str]:
    """The whole words, and the last one apart while it is typed; a long one is taken for whole."""
    if typing and words and len(words[-1]) <= LONGEST_BEGINNING:
        return words[:-1], words[-1]
    return words, ""


def parse(text: str, *, typing: bool = True) -> Query:
    """The query in a text. `typing`: the last word may be incomplete, unless white space or a mark follows it.

    In a text of many words quotation marks cite and do not demand.
    """
    bare = _QUOTED.sub(" ", text)
    demanded = _QUOTED.findall(text) if len(forms(bare)) <= MOST_BESIDE_PHRASES else []
    phrases = tuple(tuple(found)[:MOST_WORDS] for phrase in demanded if (found := forms(phrase)))
    words = tuple(forms(bare if demanded else text))
    return Query(words, phrases, typing and bool(words) and bool(forms(text[-1:])), not text.strip(), text)


def question(text: str) -> Query:
    """The query that a question is: nothing in it is quoted or still being typed."""
    return Query(tuple(forms(text)), blank=not text.strip(), text=text)

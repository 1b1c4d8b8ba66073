"""What somebody typed, parted into words and quoted phrases, and the lookups that find its passages. Pure.

Three forms of a query are told apart, since people type words into a box and questions into the same box:
- **browse**: no text at all; every passage in the filters.
- **plain**: at most three words and none of them a stop word: a passage must hold them all, if enough passages do.
- **loose**: anything longer or with stop words: passages are ranked by how much of it they hold.
What is quoted a passage must hold in any case.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

from functions.search.stems import shared_prefix, stem
from functions.search.stopwords import STOP_WORDS
from knts.lookup import Lookup
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
    """A word that passages are ranked by; `open` when it is still being typed and may go on."""

    form: str
    open: bool = False

    @property
    def stem(self) -> str:
        return stem(self.form)

    def lookup(self, phrases: tuple[tuple[str, ...], ...] = (), size: int = 0) -> Lookup:
        """All passages that hold the word in any of its forms, and some more where words begin alike."""
        beginning = self.form if self.open else shared_prefix(self.form)
        if self.open or len(beginning) >= SHORTEST_BEGINNING:
            return Lookup((beginning,), phrases, prefix=True, size=size)
        return Lookup((self.form,), phrases, size=size)

    def misspelt(self) -> Lookup | None:
        """Passages that hold a word like this one; None for a word too short to be told from others."""
        typos = (len(self.form) >= ONE_TYPO) + (len(self.form) >= TWO_TYPOS)
        return Lookup((self.form,), prefix=self.open, typos=typos, size=50) if typos else None


@dataclass(frozen=True)
class Query:
    """The words in their order, the quoted phrases, and whether the last word is still being typed."""

    words: tuple[str, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    typing: bool = False
    blank: bool = False

    @property
    def form(self) -> Form:
        if not self.words and not self.phrases:
            return "browse" if self.blank else "nothing"
        few = len(set(self.words)) <= PLAIN and not STOP_WORDS.intersection(self.words)
        return "plain" if few or STOP_WORDS.issuperset(self.words) else "loose"

    @property
    def terms(self) -> tuple[Term, ...]:
        """What passages are ranked by: distinct stems, without stop words unless there is nothing else."""
        last = len(self.words) - 1
        terms = [Term(form, self.typing and at == last) for at, form in enumerate(self.words)]
        telling = [term for term in terms if term.form not in STOP_WORDS]
        quoted = [Term(form) for phrase in self.phrases for form in phrase if form not in STOP_WORDS]
        chosen = telling + quoted or terms
        return tuple({term.stem: term for term in chosen}.values())[:MOST_TERMS]

    def whole(self, page: int = 1, size: int = 0, facets: tuple[str, ...] = ()) -> Lookup:
        """The passages that hold everything that was typed."""
        words = self.words[:MOST_WORDS]
        open_ended = self.typing and len(words) == len(self.words) and bool(words)
        return Lookup(words, self.phrases, prefix=open_ended, page=page, size=size, facets=facets)

    def together(self, size: int) -> Lookup:
        """The passages that hold all words that passages are ranked by."""
        terms = self.terms
        return Lookup(
            tuple(term.form for term in terms), self.phrases, prefix=bool(terms) and terms[-1].open, size=size
        )

    def respelt(self, spellings: dict[str, str]) -> "Query":
        """The query with other words in the place of some."""
        typing = self.typing and self.words[-1] not in spellings
        return replace(self, words=tuple(spellings.get(form, form) for form in self.words), typing=typing)


def parse(text: str, *, typing: bool = True) -> Query:
    """The query in a text. `typing`: the last word may be incomplete, unless white space or a mark follows it.

    In a text of many words quotation marks cite and do not demand.
    """
    bare = _QUOTED.sub(" ", text)
    demanded = _QUOTED.findall(text) if len(forms(bare)) <= MOST_BESIDE_PHRASES else []
    phrases = tuple(tuple(found)[:MOST_WORDS] for phrase in demanded if (found := forms(phrase)))
    words = tuple(forms(bare if demanded else text))
    return Query(words, phrases, typing and bool(words) and bool(forms(text[-1:])), not text.strip())


def question(text: str) -> Query:
    """The query that a question is: nothing in it is quoted or still being typed."""
    return Query(tuple(forms(text)), blank=not text.strip())

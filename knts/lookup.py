"""What is asked of the index of passages and what comes back: words shared by the search function and its client.

A lookup is built so that its outcome depends on the asker's own passages alone. Typesense looks for misspelt words and
beginnings of words in one dictionary for everybody's documents; only questions whose outcome the rest of that
dictionary can't change are asked of it: exact words, exact phrases, and beginnings that are short enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_PER_PAGE = 250  # Typesense's own limit
MOST_LOOKUPS = 50  # in one call, likewise
MOST_EXACT = 4  # words of a lookup that are not in a phrase: with 32 filters Typesense takes no longer expression
MOST_IN_PHRASE = 5  # words of a phrase that are looked up: its four pairs take no more of a filter than one word
LONGEST_BEGINNING = 8  # letters; of what goes beyond, its dictionary compares only some (see typesense_search)

Filters = Mapping[str, tuple[str, ...]]  # by key; one of the values must be there


@dataclass(frozen=True)
class Scope:
    """What the asker may read (a tenant's passages that are open or shared with one of his groups), and his filters."""

    tenant: str
    groups: tuple[str, ...] = ()
    filters: Filters = field(default_factory=dict)


@dataclass(frozen=True)
class Lookup:
    """Passages that hold all of `words` (folded forms, in title, section or text), and `phrase`'s neighbours in a row.

    `beginning`: also a word that begins like this, at most `LONGEST_BEGINNING` letters; `any_of`: also one of these
    words. Without any of them: every passage. `size` ids come back from page `page`, and the counts of the values of
    `facets`.

    A phrase is looked up by its pairs of neighbours, which may stand apart from each other and in different titles: of
    more than two words what is found need not hold it.
    """

    words: tuple[str, ...] = ()
    phrase: tuple[str, ...] = ()
    beginning: str = ""
    any_of: tuple[str, ...] = ()
    size: int = 0
    page: int = 1
    facets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.beginning) > LONGEST_BEGINNING:
            raise ValueError(f"a word is looked up by at most {LONGEST_BEGINNING} of its first letters")
        if len(self.words) > MOST_EXACT - bool(self.phrase):
            raise ValueError(f"at most {MOST_EXACT} words are looked up, one less beside a phrase")
        if len(self.phrase) == 1 or len(self.phrase) > MOST_IN_PHRASE:
            raise ValueError(f"a phrase is looked up by two to {MOST_IN_PHRASE} words")


@dataclass(frozen=True)
class Found:
    """The number of passages that match, the ids of one page of them, and the facets' values with their counts."""

    total: int = 0
    ids: tuple[str, ...] = ()
    facets: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """A passage as the index holds it: `text` is the document's `text[start:end]` in code points.

    `words`, `title_words` and `section_words` are folded forms parted by spaces; `values` are facet values by key.
    `readers` are the digests of the groups that may read it, or `knts.index.EVERYONE`. `lead` is what stands between it
    and the passage before, None where that is not known; `continues`: both stand in the same section.
    """

    id: str
    document_id: str
    version: int
    number: int
    title: str
    section: str
    text: str
    start: int
    end: int
    url: str | None = None
    words: str = ""
    title_words: str = ""
    section_words: str = ""
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    readers: tuple[str, ...] = ()
    lead: str | None = None
    continues: bool = False

    @property
    def tags(self) -> tuple[str, ...]:
        return self.values.get("tags", ())

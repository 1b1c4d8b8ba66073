"""The page learns from hits which facets there are, each reader from his own."""

from typing import Any

from functions.ingress.access import Principal
from functions.ingress.web import finding
from functions.ingress.web.address import Address
from functions.ingress.web.finding import FacetKeys, find
from tests.e2e.page_ingress import LOCAL, ScriptedIngress, corpus


def keyed(*keys: str) -> list[dict[str, Any]]:
    return [{"metadata": dict.fromkeys(keys, "x")}]


def documents(count: int, **metadata: str) -> list[dict[str, Any]]:
    return [{**corpus()[0], "document_id": str(number), "metadata": metadata} for number in range(count)]


async def test_keys_of_another_part_of_the_corpus_are_found_too() -> None:
    ingress = ScriptedIngress([*documents(200, team="a"), *documents(100, play="Hamlet")])

    results = await find(ingress, LOCAL, Address(), FacetKeys())

    assert [facet.label for facet in results.facets] == ["Team", "Play"]
    assert results.hits == ()


async def test_the_survey_is_made_once() -> None:
    ingress, keys = ScriptedIngress(documents(200, team="a")), FacetKeys()
    await find(ingress, LOCAL, Address("to"), keys)
    before = len(ingress.searches)

    await find(ingress, LOCAL, Address("to"), keys)

    assert len(ingress.searches) == before + 1


async def test_chosen_filters_are_facets_before_any_key_is_known() -> None:
    ingress = ScriptedIngress([])

    await find(ingress, LOCAL, Address("x", (("play", "Hamlet"),)), FacetKeys())

    assert ["play"] in [search["facets"] for search in ingress.searches]


def test_scopes_learn_apart() -> None:
    keys = FacetKeys()
    staff, guest = Principal("t", ("staff",), "a"), Principal("t", (), "b")

    assert keys.learn(staff, keyed("salary"))
    assert keys.known(guest) == []
    assert keys.known(Principal("t", ("staff",), "c")) == ["salary"]
    assert not keys.learn(staff, keyed("salary"))


def test_what_is_kept_is_bounded() -> None:
    keys = FacetKeys(scopes=2)
    for tenant in ("a", "b", "c"):
        keys.learn(Principal(tenant, (), tenant), keyed(*map(str, range(40)), "k" * 129, ""))

    assert list(keys.seen) == [("b", ()), ("c", ())]
    assert len(keys.known(Principal("c", (), ""))) == finding.MAX_FACETS
    assert keys.known(Principal("c", (), ""))[0] == "0"

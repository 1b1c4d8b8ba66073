"""Follow-up questions, answers as JSON and OpenAI's own client on the whole road, with the model that is there."""

import json
import os
import secrets

import aiohttp
import openai
import pytest

from knts import formats
from tests.e2e.roads import Road
from tests.e2e.test_road import Doc, check_citations, keeper_document, put, until

KEEPER = {
    "type": "object",
    "properties": {"keeper": {"type": "string"}},
    "required": ["keeper"],
    "additionalProperties": False,
}


async def test_a_follow_up_finds_what_the_question_before_was_about(api: aiohttp.ClientSession) -> None:
    doc = keeper_document("Ness")
    version = await put(api, doc)
    first = {**doc.request, "conversation_id": secrets.token_hex(8)}
    async with api.post("/v1/answers", json=first) as response:
        begun = await response.json()
    assert check_citations(begun, doc, version) > 0, begun
    second = {**first, "question": "And when was it built?"}
    async with api.post("/v1/answers", json=second) as response:
        answer = await response.json()
    assert "lighthouse" in answer["standalone_question"]
    assert answer["passages"][0]["document_id"] == doc.id
    alone = {"question": answer["standalone_question"], "filters": doc.request["filters"]}
    async with api.post("/v1/answers", json=alone) as response:
        same = await response.json()
    assert (same["answer"], same["citations"], same["cache"]) == (answer["answer"], answer["citations"], "hit")

    path = f"/v1/conversations/{first['conversation_id']}"
    async with api.get(path) as response:
        assert [turn["question"] for turn in (await response.json())["turns"]] == [
            first["question"], second["question"]]  # fmt: skip
    async with api.delete(doc.path) as response:
        assert response.status == 202
    await gone(api, doc)
    async with api.get(path) as response:
        assert response.status == 404


async def gone(api: aiohttp.ClientSession, doc: Doc) -> None:
    """Wait until a document is removed."""
    async with api.get(doc.path) as response:
        version = (await response.json())["version"]
    await until(api, doc, version, "removed")


@pytest.mark.parametrize("stream", [False, True])
async def test_openais_client_gets_cited_answers(road: Road, api: aiohttp.ClientSession, stream: bool) -> None:
    doc = keeper_document("Vinga")
    await put(api, doc)
    own = {"knts": {"filters": doc.request["filters"]}}
    key = os.environ.get("KNTS_E2E_KEY", "none")
    async with openai.AsyncOpenAI(base_url=f"{road.base_url}/v1", api_key=key, timeout=90) as client:
        assert "kn-ts" in [model.id async for model in client.models.list()]
        messages = [{"role": "user", "content": doc.request["question"]}]
        found = await client.chat.completions.create(  # type: ignore[call-overload]
            model="kn-ts", messages=messages, stream=stream, extra_body=own
        )
        if stream:
            chunks = [chunk async for chunk in found]
            content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            annotations = chunks[-1].choices[0].delta.model_extra["annotations"]
            cited = [each["url_citation"] for each in annotations]
        else:
            content = found.choices[0].message.content
            cited = [each.url_citation.model_dump() for each in found.choices[0].message.annotations]
    assert cited
    for citation in cited:
        assert doc.text[citation["start"] : citation["end"]] == citation["quote"]
        assert content[citation["start_index"] : citation["end_index"]].strip()
        async with api.get(citation["url"].removeprefix(road.base_url)) as response:
            assert response.status == 200


async def test_an_answer_comes_as_json_that_fits(api: aiohttp.ClientSession) -> None:
    doc = keeper_document("Oland")
    await put(api, doc)
    async with api.post("/v1/answers", json={**doc.request, "format": KEEPER}) as response:
        answer = await response.json()
        assert response.status == 200, answer
    assert formats.misfit(KEEPER, answer["answer"]) is None
    assert set(json.loads(answer["answer"])) == {"keeper"}

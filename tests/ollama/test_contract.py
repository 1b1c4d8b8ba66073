"""A real Ollama keeps what the packaged model is held to, and where the two differ."""

import aiohttp

from tests.ollama_contract import CAPITAL, MODEL, EmbedderContract, OllamaContract, asked, whole


class TestARealOllama(OllamaContract):
    """The same table as the packaged model's in `tests/integration/test_local_model.py`."""


class TestARealOllamasEmbedder(EmbedderContract):
    """The same table as the packaged embedder's in `tests/integration/test_local_embedder.py`."""


class TestWhereThePackagedModelDiffers:
    async def test_a_prompt_beyond_the_context_is_cut_without_a_word(self, ollama: aiohttp.ClientSession) -> None:
        """So llm-answer asks for a refusal, and counts what a prompt can have at most."""
        long = [{"role": "user", "content": "word " * 2000}]
        said = await whole(ollama, "/api/chat", asked(messages=long, options={"num_ctx": 256}))
        assert said["prompt_eval_count"] <= 256

    async def test_an_answer_may_end_where_the_context_does_rather_than_lose_its_passages(
        self, ollama: aiohttp.ClientSession
    ) -> None:
        options = {"num_ctx": 256, "num_predict": 600}
        said = await whole(ollama, "/api/generate", asked(prompt="1, 2, 3, 4,", raw=True, options=options, shift=False))
        assert said["done_reason"] == "length"
        assert 200 < said["prompt_eval_count"] + said["eval_count"] <= 257

    async def test_it_has_embeddings(self, ollama: aiohttp.ClientSession) -> None:
        body = {"model": MODEL, "input": [CAPITAL[0]["content"], "Paris is the capital of France."]}
        said = await whole(ollama, "/api/embed", body)
        assert [len(each) for each in said["embeddings"]] == [576, 576]

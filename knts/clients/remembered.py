"""The fast path: a repeated question's answer, found without an event while nothing of its tenant has changed."""

from collections.abc import Collection, Mapping
from typing import Any

from knts.answer_keys import fast_key
from knts.clients.answer_cache import AnswerCache
from knts.clients.records import Records


class Remembered:
    """Finished answers by what was asked, in whose scope, under the tenant's present token.

    `model` is the name of llm-answer's default model.
    """

    def __init__(self, records: Records, cache: AnswerCache, model: str) -> None:
        self._records = records
        self._cache = cache
        self._model = model

    async def recall(self, tenant: str, groups: Collection[str], request: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer.completed data of an answer that still holds, or None. Raises Temporary.

        `request` is the data of answer.requested.
        """
        token = await self._records.token(tenant)
        return await self._cache.fast(fast_key(token, tenant, groups, request, self._model))

"""Which models go on with an answer that they are given the beginning of: probed once, remembered for all replicas."""

from typing import Protocol

from knts.clients.redis import Redis, failures

LIFE_MS = 30 * 24 * 60 * 60 * 1000


class Models(Protocol):
    """What is needed of `knts.clients.ollama.Ollama`."""

    async def continues(self, model: str, context: int) -> bool: ...


class Continues:
    """What is known, by a model's digest, in the durable Redis."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    async def __call__(self, models: Models, model: str, digest: str, context: int) -> bool:
        """Whether it does; the model is probed where nobody knows, with the `context` (tokens) that its answers have.

        Raises Temporary, and what `Ollama.chat` raises.
        """
        key = f"knts:continues:{digest}"
        with failures():
            known = await self.redis.get(key)
        if known is None:
            known = b"1" if await models.continues(model, context) else b"0"
            with failures():
                await self.redis.set(key, known, px=LIFE_MS)
        return bool(known == b"1")

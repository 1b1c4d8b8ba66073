"""The span and metrics of one call to a language model, in the words of the gen_ai conventions."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from opentelemetry.trace import Span

from knts.telemetry import measures, spans


@dataclass
class ModelCall:
    """A model call under way: tell it of the first token and of the end."""

    span: Span
    labels: dict[str, str | int]
    started: float = field(default_factory=time.perf_counter)
    waited: float | None = None

    def first_token(self) -> None:
        """The first token came just now; later calls change nothing."""
        if self.waited is None:
            self.waited = time.perf_counter() - self.started
            self.span.set_attribute("gen_ai.response.time_to_first_chunk", self.waited)
            measures.observe("gen_ai.client.operation.time_to_first_chunk", self.waited, self.labels)

    def finished(self, usage: Mapping[str, int], finish_reasons: Sequence[str] = (), *, model: str = "") -> None:
        """The model is done. `usage` has `prompt_tokens` and `completion_tokens`, as answers do."""
        self.span.set_attribute("gen_ai.response.finish_reasons", list(finish_reasons))
        if model:
            self.span.set_attribute("gen_ai.response.model", model)
        for name, kind in (("prompt_tokens", "input"), ("completion_tokens", "output")):
            if name in usage:
                self.span.set_attribute(f"gen_ai.usage.{kind}_tokens", usage[name])
                measures.observe("gen_ai.client.token.usage", usage[name], self.labels, **{"gen_ai.token.type": kind})


@contextlib.contextmanager
def model_call(
    model: str, *, operation: str = "chat", url: str = "", provider: str = "ollama", **options: str | int | float
) -> Iterator[ModelCall]:
    """The client span around one call of `model`; `options` (max_tokens, temperature, seed, …) are the request's."""
    labels: dict[str, str | int] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model[:128],
    }
    address = urlsplit(url)
    place: dict[str, str | int] = {"server.address": address.hostname} if address.hostname else {}
    if address.port:
        place["server.port"] = address.port
    asked = {f"gen_ai.request.{name}": value for name, value in options.items()}
    with spans.client(f"{operation} {model[:128]}", {**labels, **place, **asked}) as span:
        call = ModelCall(span, labels)
        ended: dict[str, str] = {}
        try:
            yield call
        except BaseException as error:
            ended = {"error.type": spans.error_type(error)}
            raise
        finally:
            measures.observe("gen_ai.client.operation.duration", time.perf_counter() - call.started, labels, **ended)

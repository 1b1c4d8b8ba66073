"""`knts status`: which parts are ready, what waits in the Broker, how many documents there are, which model answers."""

import re
from typing import Any
from urllib.parse import urlsplit

from rich.table import Table
from rich.text import Text

from knts.cli import output
from knts.cli.api import Api
from knts.cli.errors import FAILED, OK, Answered, CommandError, NoConnection

PAGE = 1000
READY = "ready"
NO_PAGE = (404, 405)  # how Knative's Brokers answer to a GET: they take events and OPTIONS
MOST_PAGES = 20  # beyond so many documents the count is given as "at least"
_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:]\w*)\{(?P<labels>[^}]*)\} (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


async def run(url: str, key: str, broker: str, *, as_json: bool) -> int:
    """Look and tell; the exit code is 1 when a part is not ready. Raises NoConnection when ingress is gone."""
    async with Api(url, key) as api:
        found: dict[str, Any] = {"url": api.url, "parts": {"ingress": await _ready(api)}}
        found["documents"] = await _documents(api)
        found["models"] = await _models(api)
    address = urlsplit(broker)
    async with Api(f"{address.scheme}://{address.netloc}") as queue:
        found["parts"]["broker"], found["queues"] = await _broker(queue, address.path)
    if as_json:
        output.print_json(found)
    else:
        _print(found)
    return OK if all(state == READY for state in found["parts"].values()) else FAILED


async def _ready(api: Api) -> str:
    try:
        await api.text("/readyz", timeout=10)
    except Answered as error:
        return str(error)
    return READY


async def _broker(api: Api, path: str) -> tuple[str, dict[str, dict[str, int]]]:
    """Its state and its queues, of which only the development broker tells."""
    try:
        await api.text("/readyz", timeout=10)
        return READY, await _queues(api)
    except NoConnection:
        return "not reachable from here", {}
    except Answered as error:
        if error.status not in NO_PAGE:
            return str(error), {}
    try:
        await api.json("OPTIONS", path, timeout=10)
    except Answered as error:
        return str(error), {}
    return READY, {}


async def _documents(api: Api) -> dict[str, Any]:
    """How many documents the key may read, by status."""
    counts: dict[str, int] = {}
    after: str | None = ""
    for _ in range(MOST_PAGES):
        try:
            page = await api.json("GET", "/v1/documents", query={"limit": PAGE, "after": after or None})
        except Answered as error:
            return {"error": str(error)}
        for item in page["documents"]:
            counts[item["status"]] = counts.get(item["status"], 0) + 1
        after = page.get("next")
        if not after:
            return {"by_status": counts, "complete": True}
    return {"by_status": counts, "complete": False}


async def _models(api: Api) -> list[str]:
    try:
        reply = await api.json("GET", "/v1/models")
    except CommandError:
        return []
    return [str(model.get("id")) for model in reply.get("data", [])]


async def _queues(api: Api) -> dict[str, dict[str, int]]:
    return queues(await api.text("/metrics"))


def queues(metrics: str) -> dict[str, dict[str, int]]:
    """Each Trigger's queue in the broker's Prometheus text: how many wait, are under way, and wait for a retry."""
    names = {
        "knts_broker_queue_depth": "waiting",
        "knts_broker_deliveries_running": "running",
        "knts_broker_retries_waiting": "retrying",
    }
    found: dict[str, dict[str, int]] = {}
    for line in metrics.splitlines():
        sample = _SAMPLE.match(line)
        if sample and sample["name"] in names:
            labels = dict(_LABEL.findall(sample["labels"]))
            lane = labels.get("trigger", "?") + (" (dead letters)" if labels.get("sink") == "dead-letter" else "")
            found.setdefault(lane, {})[names[sample["name"]]] = int(float(sample["value"]))
    return found


def _print(found: dict[str, Any]) -> None:
    console = output.out()
    table = Table.grid(padding=(0, 2))
    for name, state in found["parts"].items():
        table.add_row(name, Text(output.shown(state), style="green" if state == READY else "red"))
    documents = found["documents"]
    if "error" in documents:
        table.add_row("documents", Text(output.shown(documents["error"]), style="red"))
    else:
        told = ", ".join(f"{number} {status}" for status, number in sorted(documents["by_status"].items())) or "none"
        table.add_row("documents", told if documents["complete"] else f"at least {told}")
    if found["models"]:
        table.add_row("models", output.shown(", ".join(found["models"])))
    for lane, counts in sorted(found["queues"].items()):
        if any(counts.values()):
            table.add_row(output.shown(lane), ", ".join(f"{number} {what}" for what, number in counts.items()))
    console.print(table)

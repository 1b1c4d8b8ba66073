"""What a Knative Service says of its traffic, and the patches that change it. Pure: objects in, values out.

The Service is the only memory of a rollout, so one that was killed is taken up by whoever runs it again: `spec.traffic`
names the old revision, and the new one under the tag `canary`; annotations name the revision that was taken back last
(and why) and the one that served before the last promotion. A patch changes all of that at once, and only where
`spec.traffic` is still what was read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TAG = "canary"
REFUSED = "canary.kn-ts.dev/refused"
WHY = "canary.kn-ts.dev/refused-because"
BEFORE = "canary.kn-ts.dev/before"

Object = Mapping[str, Any]
Patch = list[dict[str, Any]]


class Unclear(Exception):
    """The Service's traffic is not such as this program makes or can begin from; the message says why."""


@dataclass(frozen=True)
class Traffic:
    """Who serves, and who is about to."""

    old: str  # the revision that serves; "" when none has been ready yet
    new: str  # the newest revision
    percent: int | None  # that the revision with our tag gets; None when there is none
    tagged: str  # that revision, or ""
    follows: bool  # whether the newest ready revision gets everything by itself


def read(service: Object) -> Traffic:
    """The Service's traffic. Raises Unclear where more than one revision serves beside ours."""
    status = service.get("status", {})
    ready, newest = status.get("latestReadyRevisionName", ""), status.get("latestCreatedRevisionName", "")
    targets: Sequence[Object] = service["spec"].get("traffic") or [{"latestRevision": True, "percent": 100}]
    ours = [target for target in targets if target.get("tag") == TAG]
    others = [target for target in targets if target.get("tag") != TAG and target.get("percent")]
    if len(others) != 1:
        raise Unclear(f"{len(others)} revisions have a share of the traffic beside the tag {TAG}; one must")
    follows = bool(others[0].get("latestRevision"))
    return Traffic(
        old=ready if follows else others[0]["revisionName"],
        new=newest,
        percent=ours[0].get("percent", 0) if ours else None,
        tagged=ours[0].get("revisionName", "") if ours else "",
        follows=follows,
    )


def seen(service: Object) -> bool:
    """Whether the Service's controller has seen its newest spec, so that the status speaks of it."""
    return bool(service.get("status", {}).get("observedGeneration") == service["metadata"].get("generation"))


def routed(service: Object, revision: str, percent: int) -> bool:
    """Whether the routers send `percent` of the traffic to the revision, as far as Knative says."""
    if not seen(service) or condition(service, "RoutesReady")[0] != "True":
        return False
    targets = service["status"].get("traffic", [])
    named = [target for target in targets if target.get("revisionName") == revision]
    return bool(named) and sum(target.get("percent") or 0 for target in named) == percent


def address(service: Object) -> str:
    """The URL under which the tagged revision alone is reached, or ""."""
    targets = service.get("status", {}).get("traffic", [])
    return next((target.get("url", "") for target in targets if target.get("tag") == TAG), "")


def condition(thing: Object, kind: str) -> tuple[str, str]:
    """A condition's status (`True`, `False` or `Unknown`) and its reason in words."""
    for one in thing.get("status", {}).get("conditions", []):
        if one["type"] == kind:
            return one["status"], ": ".join(one[part] for part in ("reason", "message") if one.get(part))
    return "Unknown", ""


def annotation(service: Object, name: str) -> str:
    """An annotation's value, or ""."""
    return str(service["metadata"].get("annotations", {}).get(name, ""))


def pinned(service: Object, revision: str) -> Patch:
    """All traffic to the revision, and a newer one gets none by itself."""
    return _patch(service, [_target(revision, 100)], {})


def shared(service: Object, old: str, new: str, percent: int) -> Patch:
    """`percent` of the traffic to the new revision, the rest to the old one."""
    return _patch(service, [_target(old, 100 - percent), {**_target(new, percent), "tag": TAG}], {})


def promoted(service: Object, old: str, new: str) -> Patch:
    """All traffic to the new revision, and the old one kept in mind."""
    return _patch(service, [_target(new, 100)], {BEFORE: old, REFUSED: None, WHY: None})


def taken_back(service: Object, old: str, new: str, why: str) -> Patch:
    """All traffic to the old revision, and the new one kept in mind as refused."""
    return _patch(service, [_target(old, 100)], {REFUSED: new, WHY: why})


def _target(revision: str, percent: int) -> dict[str, Any]:
    return {"revisionName": revision, "percent": percent, "latestRevision": False}


def _patch(service: Object, targets: list[dict[str, Any]], notes: Mapping[str, str | None]) -> Patch:
    """A JSON patch that holds only where the traffic is what was read; other people's tags without traffic stay."""
    before = service["spec"].get("traffic")
    kept = [one for one in before or () if one.get("tag") and one["tag"] != TAG and not one.get("percent")]
    test = [{"op": "test", "path": "/spec/traffic", "value": before}] if before else []
    patch = [*test, {"op": "add", "path": "/spec/traffic", "value": [*targets, *kept]}]
    there = service["metadata"].get("annotations")
    if notes and there is None:
        patch.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    for name, value in notes.items():
        path = "/metadata/annotations/" + name.replace("/", "~1")
        if value is not None:
            patch.append({"op": "add", "path": path, "value": value})
        elif name in (there or {}):
            patch.append({"op": "remove", "path": path})
    return patch

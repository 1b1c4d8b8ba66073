"""Which events a Trigger wants: the filter dialects of the CloudEvents Subscriptions API, but for CESQL.

A filter is a pure predicate over an event's context attributes by name. Each takes time linear in the attributes'
length: there is nothing to backtrack. Source: CloudEvents Subscriptions 0.1, Knative `eventfilter/subscriptionsapi`.
"""

from collections.abc import Callable, Mapping, Sequence

Attributes = Mapping[str, str]
Filter = Callable[[Attributes], bool]


def everything(_: Attributes) -> bool:
    """Every event passes."""
    return True


def attributes(wanted: Mapping[str, str]) -> Filter:
    """The old `filter.attributes`: each equal to its value, where an empty value means present with any value."""
    pairs = tuple(wanted.items())
    return lambda event: all(event.get(name) == value if value else bool(event.get(name)) for name, value in pairs)


def exact(wanted: Mapping[str, str]) -> Filter:
    """Every named attribute is present and equals its value."""
    return _each(wanted, str.__eq__)


def prefix(wanted: Mapping[str, str]) -> Filter:
    """Every named attribute is present and starts with its value."""
    return _each(wanted, str.startswith)


def suffix(wanted: Mapping[str, str]) -> Filter:
    """Every named attribute is present and ends with its value."""
    return _each(wanted, str.endswith)


def all_of(filters: Sequence[Filter]) -> Filter:
    """Every one of them passes."""
    return lambda event: all(passes(event) for passes in filters)


def any_of(filters: Sequence[Filter]) -> Filter:
    """At least one of them passes."""
    return lambda event: any(passes(event) for passes in filters)


def negated(inner: Filter) -> Filter:
    """The inner one does not pass; so `not` of a missing attribute's match is true."""
    return lambda event: not inner(event)


def _each(wanted: Mapping[str, str], holds: Callable[[str, str], bool]) -> Filter:
    pairs = tuple(wanted.items())
    return lambda event: all(name in event and holds(event[name], value) for name, value in pairs)

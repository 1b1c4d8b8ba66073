"""Who asks: bearer keys by their digest, the page's cookie, and what a server without keys still allows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """Who asks: a tenant, the groups whose documents he may read, and an id that names the key."""

    tenant: str
    groups: tuple[str, ...]
    id: str

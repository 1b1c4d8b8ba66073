"""The heart of the broker: what is accepted is queued for each Trigger that wants it, and delivered until it is done.

It joins the parts: `slots` fills and empties, `courier` delivers, `sweeping` finds what was overlooked.
"""

import aiohttp

from knts.devbroker.courier import Courier
from knts.devbroker.entries import Entry, dead_key, queue_key
from knts.devbroker.lanes import Lane
from knts.devbroker.manifests import Broker, Plan, Trigger
from knts.devbroker.slots import Slots
from knts.devbroker.store import Store
from knts.devbroker.sweeping import Sweeper
from knts.devbroker.watching import Watcher
from knts.events import Event


class Dispatcher:
    """Queues, delivers, retries and dead-letters by the plan in force."""

    def __init__(self, store: Store, http: aiohttp.ClientSession, watcher: Watcher) -> None:
        self.watcher = watcher
        self.courier = Courier(http, watcher)
        self.slots = Slots(store, self.courier)
        self.sweeper = Sweeper(store, self.slots)

    @property
    def lanes(self) -> dict[str, Lane]:
        """Every stream's lane."""
        return self.slots.lanes

    @property
    def closing(self) -> bool:
        """Whether nothing more is accepted or started."""
        return self.slots.closing

    def follow(self, plan: Plan) -> None:
        """Work by `plan` from now on. The queue of a Trigger that is gone stays, in case it comes back."""
        self.courier.plan = plan
        wanted = {
            (dead_key if dead else queue_key)(key): (trigger, dead)
            for key, trigger in plan.triggers().items()
            for dead in (False, True)
        }
        for stream, lane in self.lanes.items():
            lane.active = stream in wanted
        for stream, (trigger, dead) in wanted.items():
            lane = self.lanes.setdefault(stream, Lane(stream, trigger, dead))
            lane.follow(trigger)
            self.slots.kick(lane)
        self.sweeper.soon()

    async def publish(self, broker: Broker, event: Event, trace: str) -> list[Trigger]:
        """Queue an arrived event for every Trigger that wants it; those Triggers. Durable on return.

        Raises QueueFull or Temporary; then it was not accepted.
        """
        triggers = broker.matching(event.attributes)
        if triggers:
            await self.slots.put(Entry("", event, trace), [queue_key(trigger.key) for trigger in triggers])
        self.watcher.accepted(broker, event, triggers)
        return triggers

    async def replay(self, broker: Broker, trigger: Trigger, event: Event, trace: str) -> None:
        """Queue an arrived event for this Trigger alone, whatever its filter says. Returns and raises likewise."""
        await self.slots.put(Entry("", event, trace), [queue_key(trigger.key)])
        self.watcher.accepted(broker, event, [trigger])

    def stop(self) -> None:
        """Accept and start nothing more."""
        self.slots.closing = True

    async def sweep(self) -> None:
        """Look for ever for what was overlooked."""
        await self.sweeper.run()

    async def close(self, grace: float) -> None:
        """Stop; deliveries under way may end within `grace` seconds, the rest stays pending."""
        await self.slots.close(grace)

"""The development broker: Knative's Broker and Triggers on one machine, with a queue that survives `kill -9`.

The road of an event: `ingress` accepts it, `dispatch` lets `store` put it into the stream of every Trigger whose
`filters` match, `sending` posts it to the subscriber, `delivery` decides what follows from the answer. `manifests`
turns the YAML of `eventing/` into the plan all of them work by.
"""

"""The development broker: Knative's Broker and Triggers on one machine, with a queue that survives `kill -9`.

The road of an event: `ingress` accepts it, `dispatch` lets `store` put it into the stream of every Trigger whose
`filters` match, `slots` says when it is its turn, `courier` has it posted and lets `delivery` decide what follows from
the answer. `sweeping` finds what a crash has left. `manifests` turns the YAML of `eventing/` into the plan of all.
"""

"""Rolls a new revision of a Knative Service out by traffic splitting: README.md here."""

"""The search function: finds passages for people and for answers."""

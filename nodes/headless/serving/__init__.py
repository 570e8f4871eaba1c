"""Graphs as jobs of a queue: what a job takes along, what is checked before it is queued, and how a worker makes it."""

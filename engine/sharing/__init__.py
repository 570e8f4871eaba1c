"""Processes on other devices of this machine that make runs with this one, and wait for the next in between."""

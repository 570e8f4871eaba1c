"""Edits of a clip by words, as runs of the engine."""

"""Prompts written by a language model: one in memory for a moment, or one that a server of the user's own runs."""

"""Prompt travel: prompts that take turns over a clip, written line by line."""

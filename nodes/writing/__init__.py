"""Prompts that a language model writes out."""

"""Conditioning beside the prompt, one file per kind."""

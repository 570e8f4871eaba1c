"""Causal models, which make a video chunk by chunk."""

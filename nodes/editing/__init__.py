"""Nodes that change a clip."""

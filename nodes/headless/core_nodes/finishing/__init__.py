"""Nodes that work on finished frames."""

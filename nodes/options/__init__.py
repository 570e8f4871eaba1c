"""Nodes that say how others work."""

"""Nodes that are about Wan models alone, or about how a model is asked."""

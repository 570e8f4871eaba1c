"""Nodes for causal models."""

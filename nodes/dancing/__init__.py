"""Wan-Dancer: what music is, the parts of a dance, and the node that prepares one."""

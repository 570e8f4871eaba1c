"""Nodes that make a video longer than one clip: what goes on from a clip, and how clips become one."""

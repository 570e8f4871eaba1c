"""Nodes for models that follow or show what they are given: the Fun family, Bernini-R, Wan-Animate."""

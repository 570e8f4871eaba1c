"""Nodes for the Fun family of Wan models: what a video follows, and where its camera goes."""

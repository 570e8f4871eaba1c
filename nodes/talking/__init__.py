"""Nodes for people who speak: the sound, and the video it is spoken in."""

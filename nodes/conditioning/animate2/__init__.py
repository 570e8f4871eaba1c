"""Poses for Wan-Animate-2 in a native CONDITIONING: read, and written."""

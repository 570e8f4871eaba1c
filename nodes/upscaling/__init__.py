"""The node that makes a clip larger, and what enlarges its pictures before."""

"""Nodes between our sockets and ComfyUI's own: a model of ours for native nodes, native ones for ours."""

"""Between ComfyUI's own models and ours: nodes that make one of the other."""

"""Who runs the nodes: a ComfyUI server or the command line."""

"""Running workflows of the nodes from the command line, without ComfyUI."""

"""The nodes, the same in ComfyUI and headless: thin around the core, native data at their sockets."""

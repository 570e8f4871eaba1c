"""Our transformer as a native MODEL of ComfyUI: its conditioning, samplers, patches and memory around our DiT."""

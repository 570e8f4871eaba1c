"""What travels between nodes: our objects with ComfyUI's names, native dictionaries as ours and back."""

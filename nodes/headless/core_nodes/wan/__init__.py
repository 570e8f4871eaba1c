"""ComfyUI's nodes for the Fun family of Wan models, and what its nodes for Wan videos have in common."""

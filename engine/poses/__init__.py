"""What a run keeps of a pose video's way through the blocks (Wan-Animate-2)."""

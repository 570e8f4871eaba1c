"""Several prompts at once: lines of them, with sizes of their own, in batches of one shape, and back in their order."""

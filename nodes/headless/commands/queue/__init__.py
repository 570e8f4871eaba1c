"""Commands of the queue: those that serve it, and those that ask it."""

"""One sampling run: what it has to do, whose turn a step is, and the model made ready for it."""

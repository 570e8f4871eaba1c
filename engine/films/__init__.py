"""Films: clips one after another, each going on from the last frames of the one before, in the memory of one clip."""

"""The nodes that teach a model something, and make what it is taught with."""

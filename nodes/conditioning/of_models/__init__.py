"""Values of a native CONDITIONING that only some kinds of models read, one file per kind."""

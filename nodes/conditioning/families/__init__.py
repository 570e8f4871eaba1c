"""What a native CONDITIONING gives models of one family alone, one file per family."""

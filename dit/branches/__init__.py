"""What a checkpoint may carry beside the trunk of the transformer, one file per kind."""

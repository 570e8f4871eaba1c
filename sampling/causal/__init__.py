"""The order in which the frames of a video are made: all at once, or by a causal model chunk by chunk."""

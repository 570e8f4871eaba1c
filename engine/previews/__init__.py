"""What a run looks like while it is sampled: a short moving picture after each step."""

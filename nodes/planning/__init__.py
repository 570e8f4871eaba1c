"""What a workflow takes, before it runs: its nodes run on tensors without values, and the stages are noted."""

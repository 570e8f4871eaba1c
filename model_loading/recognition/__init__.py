"""What a file is, from its header alone: which model, spelt and stored how, and whether this version runs it."""

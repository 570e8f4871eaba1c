"""What a training has learned so far, seen: samples of some prompts, and the sheet that they stand on."""

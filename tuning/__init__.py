"""LoRA training, datasets and data preparation."""

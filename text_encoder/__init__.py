"""Prompt and picture features: tokenizer, UMT5 text encoder, CLIP vision encoder, prompt emphasis."""

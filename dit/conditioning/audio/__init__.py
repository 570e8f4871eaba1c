"""Conditioning of talking models, one file per kind."""

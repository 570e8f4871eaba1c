"""Films: long videos that are made and saved clip by clip."""

"""Published model files: which is missing, where it is to be had, and fetching it whole."""

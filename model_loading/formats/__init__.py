"""How files store weights: one reader per format, listed in `weight_formats.WEIGHT_FORMATS`."""

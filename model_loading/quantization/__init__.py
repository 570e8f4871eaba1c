"""How weights are stored: one module per format, listed in `weight_formats.WEIGHT_FORMATS`."""

"""How numbers are stored and multiplied: stored weights and their codecs, the layers that hold them, fp8."""

"""What is measured of a clip, one score a file."""

"""Music as numbers: what a dance is made to."""

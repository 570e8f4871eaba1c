"""Results on their way to disk: their names, the place asked beforehand, whole files, and a last resort."""

"""From a file on disk to a module with weights: reading, recognising, mapping names, building, pairing, downloading."""

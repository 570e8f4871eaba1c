"""Names, shapes, families and errors that every layer of the pack shares."""

"""What long films come to: their memory, what survives a kill, and whether they still show what was asked for."""

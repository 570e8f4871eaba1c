"""Native CONDITIONING dictionaries and our conditioning items: written and read, one file per kind."""

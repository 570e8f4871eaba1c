"""Sound: what it is, reading it from files, and how it goes into video files."""

"""The commands of the command line, and what they share: the terminal, signals, folders."""

"""What the commands are called and given, without anything that they need to run."""

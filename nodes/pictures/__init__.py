"""Nodes that bring pictures to a video: the size they need, and the frames they stand at."""

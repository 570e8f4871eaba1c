"""A queue of videos for many machines: jobs on shared storage, who makes them, and the server that hands them out."""

"""Who is shown in a video, and how they move: models of persons and other subjects, one file each."""

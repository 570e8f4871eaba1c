"""Data preparation: from a folder of videos to clips, captions and a dataset to train on."""

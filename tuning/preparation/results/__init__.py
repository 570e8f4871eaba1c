"""What comes of a preparation: which clips are kept and why, their files, the dataset, the page that shows them."""

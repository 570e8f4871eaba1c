"""What talking models carry beside the trunk, one file per kind."""

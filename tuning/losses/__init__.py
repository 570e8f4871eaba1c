"""The losses of a training: their record, and its picture."""

"""The nodes that have videos made by a queue, on other machines, and fetch them."""

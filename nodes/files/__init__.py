"""Files that nodes name: of models and of inputs, and what is said about them."""

"""Names of tensors in foreign files -> official names; one module per foreign form."""

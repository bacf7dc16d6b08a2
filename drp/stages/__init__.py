"""The stages, one file and one `run` each, in the order in which data goes through them."""

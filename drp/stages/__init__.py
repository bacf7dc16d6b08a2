"""The verbs: one file each, with one `run(config, options)` that reads an artifact and writes the next."""

"""The configuration: `sections` declares every key of the YAML, `loading` reads files, `extends` and `--set`."""

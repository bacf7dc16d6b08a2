"""The report of one or more runs: tables, figures, one HTML page, and `drp view` in the terminal."""

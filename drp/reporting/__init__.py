"""What `drp report` shows: read from a run directory, put into tables and figures, written as one page."""

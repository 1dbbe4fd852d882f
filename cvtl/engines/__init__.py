"""Where the blocks of a run are answered, other than in the process that writes the rows."""

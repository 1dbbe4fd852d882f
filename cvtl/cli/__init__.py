"""The command line: one file per verb, each a thin wrapper over the same functions that programs call."""

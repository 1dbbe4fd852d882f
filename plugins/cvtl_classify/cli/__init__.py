"""The verb `cvtl advise`."""

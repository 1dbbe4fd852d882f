"""What to keep of a backbone for some data, and what to train: measured, for `cvtl advise` and strategy `auto`."""

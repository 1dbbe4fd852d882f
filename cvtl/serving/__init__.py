"""Weights as a web page and an interface for programs: what `cvtl serve` runs. Needs the extra `[web]`."""

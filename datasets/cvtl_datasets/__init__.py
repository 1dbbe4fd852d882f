"""Data set formats, checks, conversion, splits and generated samples."""

"""A corpus of hostile files, each made by code, and the reading of one under limits."""

"""Readers: one file per source format, each file of input into INSTANCES and REJECTS."""

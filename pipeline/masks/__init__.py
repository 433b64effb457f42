"""Mask kernels: arrays in, arrays out. No I/O, no Arrow, no Ray, no config."""

"""Maskpress: compaction of instance-segmentation datasets."""

"""Disk to Scene: one file per format, and procedural data with exact truth."""

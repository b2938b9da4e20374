"""Worker features, one a file, all through the door of `feature.py`. They shape Jobs and do no I/O."""

"""`make bench`: Tenuto, the limit that its SQL sets, and what else there is, side by side in one run."""

"""Storage: the only room that speaks SQL and opens transactions. It knows no worker, no feature and no policy."""

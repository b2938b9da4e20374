"""The soak: random workflows whose worker and server are killed at random, and a checker that forgives nothing."""

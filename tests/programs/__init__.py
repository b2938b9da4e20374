"""Random programs: workflows that are grown, steered, signalled and killed while they run, and what must hold then."""

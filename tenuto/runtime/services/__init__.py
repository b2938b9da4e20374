"""Services: what a node does beside its queues, each on an interval of its own, each able to fail and go on."""

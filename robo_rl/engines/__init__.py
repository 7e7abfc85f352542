"""Physics only: nothing here knows what a reward is."""

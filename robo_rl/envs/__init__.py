"""MDPs over named signals: declarations, registry, robots, and the one pure step."""

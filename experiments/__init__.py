"""One page per study, and the commands to look at what they left."""

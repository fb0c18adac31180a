"""Is a text fit to train on? `judges` offers the two ways to say so; `embedded` ships with dmix."""

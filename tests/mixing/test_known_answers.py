"""Problem A: two domains, six steps, where a grid and the certified optimum give the answer."""

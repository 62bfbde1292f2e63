"""Policy: who may do what, what is masked, and why. Pure; asked by `session`, compiled by whoever
loads documents."""

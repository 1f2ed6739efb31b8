"""Whole recipes: the only place where data, nets, objectives, methods and audits are combined."""

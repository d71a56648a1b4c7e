"""Planted bugs and harmless rewrites: what the public command makes of them."""

"""How the parameters move: update rules and what feeds them."""

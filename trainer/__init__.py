"""How the models learn: data, recipes, the loop, evaluation."""

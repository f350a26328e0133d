"""From labeled samples to a fitted model: inputs, recipe, objective, trainer."""

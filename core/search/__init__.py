"""A search trains a model with many settings and tells which is best: grid points x folds, judged case by case."""

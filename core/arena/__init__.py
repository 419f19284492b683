"""An arena: several models and the usual baselines on the very same folds, judged case by case, in one job."""

"""Whether a dataset is fit to learn from: measured case by case, judged against the others, shown as small pictures."""

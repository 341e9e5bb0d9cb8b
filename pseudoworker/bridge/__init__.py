"""The decisions: which job runs where, what is journalled, what is said to whom."""

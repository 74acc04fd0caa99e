"""What every kind is validated with: parts of objects, lists of causes, rules of bare values. Knows no kind."""
